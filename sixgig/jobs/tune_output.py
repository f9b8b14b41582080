"""The folder that `sixgig tune` makes: one run's at a time, its state until all else is written."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from sixgig.atomic import replace_file
from sixgig.checkpoint.peft import write_peft
from sixgig.compress.merge import merge
from sixgig.errors import BudgetError, UsageError
from sixgig.finetune.state import Progress, State, load_state
from sixgig.jobs.loss_picture import draw_losses
from sixgig.jobs.opening import ADAPTER
from sixgig.jobs.reporter import Reporter
from sixgig.modelfile import ModelFile
from sixgig.modelfile.lora import Lora, write_lora
from sixgig.units import counted, format_bytes

STATE, LOSSES, PICTURE = "state.safetensors", "loss.json", "loss.svg"
_FILES = (ADAPTER, "adapter_model.safetensors", "adapter_config.json", LOSSES, PICTURE)
_OTHER = "name another folder with -o"


class OutputFolder:
    """Raises UsageError for a folder that holds something else, or that another run is writing."""

    def __init__(self, path: Path) -> None:
        self.path, self.state_path, self.adapter_path = path, path / STATE, path / ADAPTER

    def earlier(self, resume: bool) -> State | None:
        """Where an earlier sitting left off, if that is asked for; TrainingError when it cannot be read."""
        if self.state_path.exists():
            if not resume:
                cure = f"go on with --resume, or {_OTHER}"
                raise UsageError(f"{self.path} holds a run that is not finished", cure=cure)
            return load_state(self.state_path)
        if self.adapter_path.exists():
            cure = f"run it: --adapter {quote(str(self.adapter_path))}" if resume else _OTHER
            raise UsageError(f"{self.path} holds a finished adapter", cure=cure)
        if resume:
            raise UsageError(f"{self.path} holds no run to go on with", cure="leave --resume out")
        for name in _FILES:
            if os.path.lexists(self.path / name):
                raise UsageError(f"{self.path} holds a {name} of something else", cure=_OTHER)
        return None

    @contextmanager
    def held(self) -> Iterator[None]:
        """The folder, made, for this process alone. Where nothing was written into a new one, it goes."""
        is_new = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make {self.path}", error.strerror or str(error), _OTHER) from error
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise UsageError(f"another run is writing {self.path}", cure="wait for it or end it") from error
        finally:
            os.close(descriptor)
            if is_new and not any(self.path.iterdir()):
                self.path.rmdir()

    def require_room(self, bytes_here: int, merged: Path | None, merged_bytes: int) -> None:
        """BudgetError where the disks have no room for what will be written."""
        _require_room(self.path, bytes_here)
        if merged is not None:
            _require_room(merged, merged_bytes)

    def write(self, model: ModelFile, lora: Lora, run: Progress) -> list[str]:
        """Both adapters, the losses, their picture; what the user should know of them."""
        write_lora(self.adapter_path, lora, f"{model.name} tuned")
        notices = [write_peft(self.path, model, lora)]
        losses = {"losses": run.losses, "held_out": run.held_out}
        replace_file(self.path / LOSSES, json.dumps(losses))
        if run.losses and not draw_losses(self.path / PICTURE, run.losses, run.held_out, model.name):
            notices.append('no picture of the losses: pip install "sixgig[plot]"')
        return [notice for notice in notices if notice]

    def finish(self) -> None:
        """All is written: the state is not needed any more."""
        for path in self.path.glob(f".{STATE}*"):
            path.unlink()
        self.state_path.unlink(missing_ok=True)


def merged_into(
    path: Path, model: ModelFile, lora: Lora, threads: int, folder: Path, reporter: Reporter
) -> str:
    """Writes the model with the adapter, which is in `folder`, merged in; what became of its types."""
    with reporter.progress(f"merging into {path.name}", begins=True) as progress:
        grown = merge(model, lora, path, threads, progress, name=folder.absolute().name)
    size = format_bytes(path.stat().st_size)
    if not grown:
        return f"merged into {path}, {size}"
    types = ", ".join(sorted({kind.name for kind in grown.values()}))
    why, verb = "since their own types would round the change away", "is" if len(grown) == 1 else "are"
    return f"merged into {path}, {size}; {counted(len(grown), 'tensor')} {verb} in {types} now, {why}"


def _require_room(path: Path, needed: int) -> None:
    there = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if needed > free:
        numbers = f"about {format_bytes(needed)} needed, {format_bytes(free)} free"
        raise BudgetError(f"the disk under {there} has no room for the result", numbers, "make room")
