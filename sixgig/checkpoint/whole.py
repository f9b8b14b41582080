"""A large file that appears under its name whole or not at all, and is never in memory."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sixgig.atomic import sync
from sixgig.errors import UsageError


@contextmanager
def whole_file(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A file beside `path` to be written and its name; when the block ends it is synced and takes the name.

    What a killed run left beside is written over by the next one. When the block raises, it is removed and
    `path` is as it was. UsageError where writing fails or another process writes the same file.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise UsageError(f"cannot write {path}", "it is no plain file")
    beside = path.with_name(f".{path.name[:100]}.partial")
    try:
        with _locked(beside) as file:
            yield file, beside
            file.flush()
            os.fsync(file.fileno())
            os.replace(beside, path)
            sync(path.parent)
    except OSError as error:
        raise UsageError(f"cannot write {path}", error.strerror or str(error)) from error


@contextmanager
def _locked(beside: Path) -> Iterator[BinaryIO]:
    """The empty file, ours alone; removed when the block raises."""
    with open(os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(file.fileno()), os.stat(beside)):
                raise BlockingIOError  # the other finished between our opening and our locking
        except (BlockingIOError, FileNotFoundError) as error:
            raise UsageError(f"another process writes {beside}", cure="wait for it or end it") from error
        file.truncate(0)
        try:
            yield file
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
