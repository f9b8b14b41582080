"""What a shrinking run has found so far, in a folder: a killed run takes up where it was.

    FOLDER/NAME-DIGEST/NAME.gguf    a Hugging Face folder's conversion
    FOLDER/NAME-DIGEST/findings/    job.json says what they are for; each is one file that appears whole

DIGEST is of what the source holds: another model, or other weights under the same name, have a place of their
own, and findings of another job are never taken.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sixgig.atomic import replace_file
from sixgig.errors import UsageError
from sixgig.units import first_difference

_PLACE = re.compile(r"[^.].{,49}-[0-9a-f]{16}", re.DOTALL)


class WorkPlaces:
    """A folder with a place for each source. Raises UsageError for one that holds something else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own: Path | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """The folder, made, for this process alone; afterwards places and folders that are empty go."""
        cure = "wait for it, or name another folder with --work"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder, os.O_RDONLY)
        except OSError as error:
            raise UsageError(f"cannot make {self.folder}", error.strerror or str(error), cure) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise UsageError(f"another run works in {self.folder}", cure=cure) from None
        try:
            if any(not _PLACE.fullmatch(path.name) or not path.is_dir() for path in self._visible()):
                raise UsageError(f"{self.folder} holds other files", cure="name an empty folder with --work")
            yield
        finally:
            for path in filter(None, (self._own, self.folder)):
                with suppress(OSError):
                    path.rmdir()
            os.close(descriptor)

    def place(self, name: str, digest: str) -> Path:
        """The folder, made, of the source called `name` that holds what `digest` tells."""
        self._own = self.folder / f"{place_name(name)}-{digest[:16]}"
        self._own.mkdir(parents=True, exist_ok=True)
        return self._own

    def others(self) -> list[Path]:
        """Places of other sources than the one asked for last."""
        return sorted(path for path in self._visible() if path != self._own)

    def _visible(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if not path.name.startswith(".")]

    def remove(self) -> None:
        """The job is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


def place_name(name: str) -> str:
    """A source's name as its place has it: short enough for any file system, and not hidden."""
    return name.lstrip(".")[:50] or "model"


def taken_bytes(folder: Path) -> int:
    """Bytes of the files in a folder and below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class WorkFolder:
    """The folder of one job. Raises UsageError where it holds another job's findings."""

    def __init__(self, folder: Path, job: Mapping[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        known = self.load("job")
        wanted = json.loads(json.dumps(job))
        if known is None and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise UsageError(f"{folder} holds other files", cure="name an empty folder with --work")
        if known not in (None, wanted):
            raise UsageError(
                f"{folder} belongs to another run",
                _difference(known, wanted),
                "remove it, or name another folder with --work",
            )
        self.save("job", wanted)

    def path(self, name: str) -> Path:
        """A file in the folder."""
        return self.folder / name

    def load(self, name: str) -> Any:
        """A finding, None when there is none that can be read."""
        try:
            return json.loads(self.path(f"{name}.json").read_text())
        except (OSError, ValueError):
            return None

    def save(self, name: str, finding: Any) -> None:
        """Keep a finding."""
        replace_file(self.path(f"{name}.json"), json.dumps(finding))

    def once(self, name: str, find: Callable[[], Any]) -> Any:
        """The finding kept under a name, or found now and kept; plain JSON values."""
        known = self.load(name)
        if known is None:
            known = find()
            self.save(name, known)
        return known

    def remove(self) -> None:
        """The job is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _difference(known: Any, wanted: Mapping[str, Any]) -> str:
    """What differs first."""
    if not isinstance(known, dict):
        return "its job cannot be read"
    found = {key: value for key, value in known.items() if key in wanted}
    return first_difference(found, wanted, "asked for") or "it has more in it"
