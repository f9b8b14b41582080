"""The file that a run makes: never over somebody's, and known again by what was noted of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from sixgig.compress.workfolder import WorkFolder
from sixgig.errors import UsageError
from sixgig.modelfile.content import ContentFile, files_digest

_BEGUN = "begun"


class OutputFile:
    """`path`, with the notes in a work folder of what this job wrote there."""

    def __init__(self, path: Path, work: WorkFolder) -> None:
        self.path, self._work = path, work
        self._name = f"written-{path.name[:80]}-{sha256(os.fsencode(path.resolve())).hexdigest()[:16]}"

    def require_new(self) -> None:
        """UsageError where the file exists, unless this very job wrote it and nobody anything since."""
        note = self._work.load(self._name)
        if self.path.exists() and note != _BEGUN and not self._is_noted(note):
            raise UsageError(f"{self.path} exists", cure="remove it, or name another file with -o")

    def holds(self, recipe: str) -> bool:
        """Whether it is what an earlier run wrote by the recipe with this digest."""
        note = self._work.load(self._name)
        return self._is_noted(note) and note["recipe"] == recipe

    @contextmanager
    def writing(self, recipe: str) -> Iterator[None]:
        """The block writes the file; from its beginning on a file of that name is this job's."""
        self._work.save(self._name, _BEGUN)
        yield
        self._work.save(self._name, {"recipe": recipe, "file": self._digest()})

    def _is_noted(self, note: Any) -> bool:
        """Whether the file is the one that the note tells of, as it was written."""
        return isinstance(note, dict) and self.path.is_file() and note.get("file") == self._digest()

    def _digest(self) -> str:
        return files_digest([ContentFile(self.path)])
