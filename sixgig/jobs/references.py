"""Where a reference's log-probabilities are kept between runs of `sixgig score`."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import platformdirs

from sixgig.errors import BudgetError, ModelFileError, UsageError
from sixgig.evaluate import BaseFile, BaseShape, is_base_file
from sixgig.jobs.machines import WHEEL
from sixgig.modelfile import ModelFile
from sixgig.modelfile.content import model_digest
from sixgig.units import format_bytes

KEPT_BYTES = 16 * 1024**3  # the cache; what was longest unused goes first, the newest stays whatever its size
ABANDONED_S = 24 * 3600  # nothing was written to it for so long
SPARE_BYTES = 64 * 1024**2  # never fill a disk to the brim


@dataclass(frozen=True)
class ReferenceCache:
    """Base files by what decides their content: what the model's files hold, the text, the window, how many,
    the engine."""

    folder: Path

    def path(self, model: ModelFile, text: str, context: int, limit: int | None) -> Path:
        """Where the log-probabilities of a model on a text are, or would be."""
        content = hashlib.sha256(text.encode()).hexdigest()
        key = repr((model_digest(model), content, context, limit, metadata.version(WHEEL)))
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.logits"

    def find(self, model: ModelFile, text: str, context: int, limit: int | None) -> Path | None:
        """The file to reuse, of all windows or of `limit`; None when there is none that is whole."""
        for count in dict.fromkeys((None, limit)):
            path = self.path(model, text, context, count)
            if _is_whole(path):
                os.utime(path)
                return path
        return None

    def evict(self) -> None:
        """Remove what was longest unused until the rest is within KEPT_BYTES, and what a killed run left."""
        for path in self.folder.glob(".*.logits-*"):
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.unlink(missing_ok=True)
        files = sorted(self.folder.glob("*.logits"), key=lambda path: path.stat().st_mtime_ns)
        excess = sum(path.stat().st_size for path in files) - KEPT_BYTES
        for path in files[:-1]:
            if excess <= 0:
                break
            excess -= path.stat().st_size
            path.unlink(missing_ok=True)


def reference_cache() -> ReferenceCache:
    """The user's."""
    return ReferenceCache(Path(platformdirs.user_cache_dir("sixgig")) / "references")


def require_place(path: Path) -> None:
    """UsageError unless a base file may be written at `path`: nothing but a base file is ever replaced."""
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}", f"no folder {path.parent}", "make it first")
    if path.exists() and not is_base_file(path):
        cure = "name another file with --save-reference"
        raise UsageError(f"{path} exists and holds no stored log-probabilities", cure=cure)


def require_disk(path: Path, shape: BaseShape) -> None:
    """BudgetError when the disk has no room for a base file of this shape."""
    free_bytes = shutil.disk_usage(path.parent).free
    if shape.size_bytes + SPARE_BYTES > free_bytes:
        numbers = (
            f"{format_bytes(shape.size_bytes)} for {shape.n_windows} windows, {format_bytes(free_bytes)} free"
        )
        cure = "lower --windows, or name a file on another disk with --save-reference"
        raise BudgetError(f"no room in {path.parent} for the reference's log-probabilities", numbers, cure)


def _is_whole(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        BaseFile(path).close()
    except ModelFileError:
        return False
    return True
