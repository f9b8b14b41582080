"""Where a model file's bytes come from: a file on this machine, or whatever can be read in ranges."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Protocol

from sixgig.errors import ModelFileError
from sixgig.modelfile.checkpoint_folder import is_checkpoint, unconverted


@dataclass(frozen=True)
class Fingerprint:
    """What tells a file from a changed one: size in bytes, modification time in ns, device and inode."""

    size_bytes: int
    modified_ns: int
    device: int
    inode: int


class ByteSource(Protocol):
    """One file of known size, read in ranges; it has the same bytes for as long as the object is used."""

    @property
    def name(self) -> str:
        """The file's name without its folder, for messages."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole file."""

    def read(self, offset: int, size: int) -> bytes:
        """1 to `size` bytes from `offset` on, none only at the end; ModelFileError when it cannot be read."""


@dataclass(frozen=True)
class LocalFile:
    """A regular file on this machine, as it was when its fingerprint was taken."""

    path: Path
    fingerprint: Fingerprint

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.path.name

    @property
    def size_bytes(self) -> int:
        """Bytes of the file when its fingerprint was taken."""
        return self.fingerprint.size_bytes

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset` on; ModelFileError when the file is gone or is another now."""
        with opened(self.path) as (file, found):
            if found != self.fingerprint:
                now = f"{found.size_bytes} bytes now, {self.size_bytes} before"
                raise ModelFileError(f"{self.name} changed while it was open", now, "open it again")
            file.seek(offset)
            return file.read(size)


def local_file(path: Path) -> LocalFile:
    """The file at `path` as it is now; ModelFileError when it is missing or is no regular file."""
    return LocalFile(path, fingerprint(path))


def read_all(source: ByteSource, offset: int, size: int) -> bytes:
    """`size` bytes from `offset` on, fewer when the file ends before."""
    pieces, missing = [], size
    while missing and (piece := source.read(offset + size - missing, missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


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
        raise _directory(path)
    if not stat.S_ISREG(status.st_mode):
        raise ModelFileError(f"{path} is not a regular file", cure="name a .gguf file")
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)


def _directory(path: Path) -> ModelFileError:
    holds = next(path.glob("*.gguf"), None) is not None
    if not holds and is_checkpoint(path):
        return unconverted(path)
    cure = "name the .gguf file in it" if holds else "it holds no .gguf file: name one"
    return ModelFileError(f"{path} is a directory", cure=cure)


def _unreadable(path: Path, error: OSError | ValueError) -> ModelFileError:
    if isinstance(error, FileNotFoundError):
        for link in (path, *path.parents):
            if link.is_symlink() and not link.exists():
                what = f"{link} is a link that leads nowhere"
                return ModelFileError(what, f"to {os.readlink(link)}", "link it to a file that is there")
        return ModelFileError(f"{path} does not exist", cure="check the path, or name hf:owner/repo:quant")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    number = f"errno {error.errno}" if isinstance(error, OSError) else ""
    return ModelFileError(f"{str(path)!r} cannot be read: {reason}", number)
