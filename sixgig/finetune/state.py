"""The state of a run in one file, replaced whole: a killed run goes on from it to the same bits.

Format: safetensors. Tensors are prefixed "factor." (as they are), "best." (as they were at the lowest
held-out loss) and "optimiser."; the header's metadata hold "job" and "progress" as JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sixgig.atomic import sync
from sixgig.errors import TrainingError
from sixgig.units import first_difference


@dataclass
class Progress:
    """step: how many are done. losses: of each step's batch. held_out: (after how many steps, loss).

    tokens: learnt from so far. seconds: of all sittings. judged: learnt tokens of each held-out document;
    nll_before and nll_best: its nats at the first evaluation, and at the lowest loss.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    judged: list[int] = field(default_factory=list)
    nll_before: list[float] = field(default_factory=list)
    nll_best: list[float] = field(default_factory=list)

    @property
    def best(self) -> tuple[int, float]:
        """The lowest held-out loss, the first where several are equal: (after how many steps, loss)."""
        return min(self.held_out, key=lambda seen: (seen[1], seen[0]))


@dataclass(frozen=True)
class State:
    """How a run stood. The tensors stay in the file until they are asked for."""

    path: Path
    job: dict[str, Any]
    progress: Progress

    def tensors(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        """Those under a prefix, by the rest of their names, copies, one at a time. Raises TrainingError."""
        try:
            with safe_open(self.path, "pt") as file:
                for name in file.keys():  # noqa: SIM118 (no mapping)
                    if name.startswith(prefix):
                        yield name.removeprefix(prefix), file.get_tensor(name).clone()
        except (OSError, SafetensorError) as error:
            raise _unusable(self.path, error) from error


def save_state(path: Path, job: Mapping[str, Any], progress: Progress, tensors: Mapping[str, Tensor]) -> None:
    """Written beside, synced, renamed: `path` is always whole. TrainingError, and then it is as it was."""
    notes = {"job": json.dumps(job), "progress": json.dumps(asdict(progress))}
    beside = path.with_name(f".{path.name}.part")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside, notes)
        sync(beside)
        os.replace(beside, path)
        sync(path.parent)
    except (SafetensorError, OSError) as error:
        beside.unlink(missing_ok=True)
        what, cure = (
            f"the state of the run cannot be saved in {path.parent}",
            "make room, go on with --resume",
        )
        raise TrainingError(what, str(error), cure) from error


def load_state(path: Path) -> State:
    """What save_state wrote; TrainingError when it cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            notes = file.metadata() or {}
        job, progress = json.loads(notes["job"]), Progress(**json.loads(notes["progress"]))
        progress.held_out = [(int(step), float(loss)) for step, loss in progress.held_out]
        progress.judged = [int(count) for count in progress.judged]
        for name in ("nll_before", "nll_best"):
            nll = [float(value) for value in getattr(progress, name)]
            setattr(progress, name, nll)
            if len(nll) != len(progress.judged):
                raise ValueError(f"{name} of {len(nll)} documents, {len(progress.judged)} judged")
        datetime.fromisoformat(job["date"])
        return State(path, job, progress)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> TrainingError:
    return TrainingError(f"{path} holds no state of a run", str(error)[:100], "remove it and begin again")


def require_same(state: State, job: Mapping[str, Any], path: Path) -> None:
    """TrainingError that names the first difference between the saved run and the one asked for."""
    wanted = json.loads(json.dumps(job))
    if state.job.get("model") != wanted.get("model"):
        raise TrainingError("the model file has changed", cure="name another folder with -o")
    if different := first_difference(state.job, wanted):
        cure = "ask for the same, or name another folder with -o"
        raise TrainingError(f"{path} belongs to another run", different, cure)
