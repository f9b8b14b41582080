"""Reads pieces of a model from disk ahead of their use, within a fixed amount of memory.

One thread follows the announced order; several read its ranges with direct I/O, so that nothing is left in
the page cache. What is to stay is read once.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections import deque
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import ModelFileError, ReadError
from sixgig.modelfile import Fingerprint, ModelFile, fingerprint
from sixgig.planning.pieces import Piece, Slice

CHUNK_BYTES = 4 << 20
READERS = 4  # reads in flight: disks are as fast with more
Bytes = NDArray[np.uint8]


@dataclass
class Counters:
    """bytes_read: from disk since the beginning."""

    bytes_read: int = 0


class Reader:
    """A context manager. room_bytes: memory for what is read ahead and not yet released; stays: pieces that
    are kept, on top of it.

    take() gives pieces in the order announced. The room must hold what a visit holds at once: its matrices
    and a group of experts. Raises ReadError from take() when the disk failed or the file has changed.
    """

    def __init__(self, model: ModelFile, room_bytes: int, stays: Collection[Piece] = ()) -> None:
        self.counters = Counters()
        self._model, self._room, self._stays = model, room_bytes, set(stays)
        self._files = [_File(path) for path in model.parts]
        self._kept: dict[Piece, list[Bytes]] = {}
        self._wanted, self._ready = deque[Piece](), deque[tuple[Piece, list[Bytes]]]()
        self._used, self._closed = 0, False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(READERS, "read")
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        self._pool.shutdown()
        for file in self._files:
            file.close()
        self._kept.clear()
        self._ready.clear()

    def announce(self, pieces: Iterable[Piece]) -> None:
        """These will be taken, in this order, after those announced before."""
        with self._changed:
            self._wanted.extend(pieces)
            self._changed.notify_all()

    def take(self, piece: Piece) -> list[Bytes]:
        """The bytes of each slice, which must be the next piece announced; release() it after use."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._error)
            if self._error is not None:
                raise self._error
            found, slices = self._ready.popleft()
            assert found == piece, "pieces are taken in the order announced"
            return slices

    def release(self, piece: Piece) -> None:
        """Its memory may go to another."""
        if piece in self._stays:
            return
        with self._changed:
            self._used -= piece.held_bytes
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            while (piece := self._next()) is not None:
                slices = self._kept.get(piece) or self._read(piece)
                if piece in self._stays:
                    self._kept[piece] = slices
                with self._changed:
                    self._ready.append((piece, slices))
                    self._changed.notify_all()
                del slices  # or it would outlive its release, until the next piece is read
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next(self) -> Piece | None:
        """The next piece wanted, once there is room for it; None when the reader is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (self._wanted and self._has_room(self._wanted[0])))
            if self._closed:
                return None
            piece = self._wanted.popleft()
            if piece not in self._stays:
                self._used += piece.held_bytes
            return piece

    def _has_room(self, piece: Piece) -> bool:
        return piece in self._stays or self._used == 0 or self._used + piece.held_bytes <= self._room

    def _read(self, piece: Piece) -> list[Bytes]:
        """All slices, in chunks that several threads read."""
        for path, before in zip(self._model.parts, self._model.fingerprints, strict=True):
            if _now(path) != before:
                raise ReadError(f"{path} changed while it was tuned on", cure="begin again with the new file")
        buffers = [_pages(part.pages[1]) for part in piece.slices]
        jobs = [
            (part, buffer, at)
            for part, buffer in zip(piece.slices, buffers, strict=True)
            for at in range(0, len(buffer), CHUNK_BYTES)
        ]
        list(self._pool.map(self._read_chunk, jobs))
        self.counters.bytes_read += piece.size_bytes
        return [_inside(part, buffer) for part, buffer in zip(piece.slices, buffers, strict=True)]

    def _read_chunk(self, job: tuple[Slice, Bytes, int]) -> None:
        part, buffer, at = job
        first, _ = part.pages
        size = min(CHUNK_BYTES, len(buffer) - at)
        needed = min(size, part.offset + part.size_bytes - first - at)
        self._files[part.part].read(buffer[at : at + size], first + at, needed)


def _now(path: Path) -> Fingerprint:
    try:
        return fingerprint(path)
    except ModelFileError as error:
        raise ReadError(error.what, error.numbers, "put it back and go on with --resume") from error


class _File:
    """One file, unbuffered where the system can; its pages leave the cache behind the read where not."""

    def __init__(self, path: os.PathLike[str]) -> None:
        self._path, self._is_cached = path, not hasattr(os, "O_DIRECT")
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECT", 0))
        except OSError:  # a file system without direct I/O
            self._descriptor, self._is_cached = os.open(path, os.O_RDONLY), True

    def read(self, into: Bytes, offset: int, needed: int) -> None:
        """Fill `into` from `offset`; at least `needed` bytes must be there."""
        done = 0
        while done < needed:
            count = self._some(into[done:], offset + done)
            if not count:
                raise ReadError(f"{self._path} ends early", f"at byte {offset + done}", "fetch it again")
            done += count

    def _some(self, into: Bytes, offset: int) -> int:
        try:
            count = os.preadv(self._descriptor, [into.data], offset)
            if self._is_cached and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._descriptor, offset, count, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            raise ReadError(
                f"cannot read {self._path}: {error.strerror}", f"byte {offset}, errno {error.errno}"
            ) from error
        return count

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


def _pages(size_bytes: int) -> Bytes:
    """Fresh memory that begins at a page; huge pages where there are some: fewer faults while reading."""
    memory = mmap.mmap(-1, size_bytes)
    if hasattr(mmap, "MADV_HUGEPAGE") and size_bytes >= 1 << 21:
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)


def _inside(part: Slice, buffer: Bytes) -> Bytes:
    """The slice without the pages around it."""
    start = part.offset - part.pages[0]
    return buffer[start : start + part.size_bytes]
