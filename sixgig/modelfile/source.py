"""A regular file opened for reading, without ever waiting on a pipe and without mapping it."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from sixgig.errors import ModelFileError


@dataclass(frozen=True)
class Fingerprint:
    """What tells a file from a changed one: size in bytes, modification time in ns, device and inode."""

    size_bytes: int
    modified_ns: int
    device: int
    inode: int


def fingerprint(path: Path) -> Fingerprint:
    """The file's fingerprint now; ModelFileError when it is missing or is no regular file."""
    try:
        return _regular(path, os.stat(path))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


@contextmanager
def opened(path: Path) -> Iterator[tuple[FileIO, Fingerprint]]:
    """The file, unbuffered, with its fingerprint; every OSError in the block becomes a ModelFileError."""
    fingerprint(path)
    try:
        with open(path, "rb", buffering=0, opener=_open_without_waiting) as file:
            yield file, _regular(path, os.fstat(file.fileno()))
    except OSError as error:
        raise _unreadable(path, error) from error


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _regular(path: Path, status: os.stat_result) -> Fingerprint:
    if stat.S_ISDIR(status.st_mode):
        raise ModelFileError(f"{path} is a directory", cure="name the .gguf file in it")
    if not stat.S_ISREG(status.st_mode):
        raise ModelFileError(f"{path} is not a regular file", cure="name a .gguf file")
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)


def _unreadable(path: Path, error: OSError | ValueError) -> ModelFileError:
    if isinstance(error, FileNotFoundError):
        return ModelFileError(f"{path} does not exist", cure="check the path, or name hf:owner/repo:quant")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    number = f"errno {error.errno}" if isinstance(error, OSError) else ""
    return ModelFileError(f"{str(path)!r} cannot be read: {reason}", number)
