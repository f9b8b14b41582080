"""What a shrinking run has found so far, in a folder: a killed run takes up where it was.

Each finding is one file that appears whole. `job.json` says what the folder is for; findings of another job
are never taken.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sixgig.atomic import replace_file
from sixgig.errors import UsageError


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
    for key, value in wanted.items():
        if known.get(key) != value:
            return f"{key}: {str(known.get(key))[:60]} there, {str(value)[:60]} asked for"
    return "it has more in it"
