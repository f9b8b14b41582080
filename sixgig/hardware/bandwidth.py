"""How fast this machine reads: the disk under a file, and memory."""

from __future__ import annotations

import itertools
import mmap
import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sixgig.errors import ReadError, UsageError

ALIGNMENT_BYTES = 4096
_O_DIRECT: int = getattr(os, "O_DIRECT", 0)  # Linux; elsewhere the page cache is asked to forget


@dataclass(frozen=True)
class Bandwidth:
    """bytes_read over elapsed_s with n_threads reads of block_bytes in flight.

    direct: the page cache was bypassed; otherwise it was asked to forget, and the rate may flatter.
    """

    bytes_read: int
    elapsed_s: float
    n_threads: int
    block_bytes: int
    direct: bool = False

    @property
    def bytes_per_s(self) -> float:
        """The measured rate."""
        return self.bytes_read / self.elapsed_s if self.elapsed_s > 0 else 0.0


def disk_read_bandwidth(
    path: Path | str, block_bytes: int = 1 << 20, threads: int = 4, seconds: float = 1.5, direct: bool = True
) -> Bandwidth:
    """Reads whole aligned blocks of an existing file in random order, for about `seconds`.

    block_bytes is rounded up to 4 KiB; no block is read twice before every one was. Takes threads x
    block_bytes of memory. Raises UsageError (no such file, shorter than a block) and ReadError.
    """
    block_bytes = -(-max(block_bytes, 1) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    offsets = _offsets(Path(path), block_bytes)
    with _opened(Path(path), block_bytes, direct) as (handle, is_direct):
        deadline = time.perf_counter() + seconds

        def read_blocks() -> int:
            with mmap.mmap(-1, block_bytes) as buffer:
                return _read_until(deadline, handle, buffer, offsets, is_direct)

        bytes_read, elapsed_s = _in_parallel(read_blocks, threads)
    return Bandwidth(bytes_read, elapsed_s, threads, block_bytes, is_direct)


def memory_bandwidth(threads: int = 1, seconds: float = 0.5, array_bytes: int = 64 << 20) -> Bandwidth:
    """Reads one array per thread over and over. Arrays must exceed the caches together; takes threads x
    array_bytes of memory.
    """
    arrays = [np.ones(array_bytes // 8, dtype=np.uint64) for _ in range(threads)]
    queue = iter(arrays)
    deadline = time.perf_counter() + seconds

    def read_array() -> int:
        array, passes = next(queue), 0
        while passes == 0 or time.perf_counter() < deadline:
            np.bitwise_or.reduce(array)  # the fastest numpy reader: one wide instruction per load
            passes += 1
        return passes * array.nbytes

    bytes_read, elapsed_s = _in_parallel(read_array, threads)
    return Bandwidth(bytes_read, elapsed_s, threads, array_bytes)


def _in_parallel(work: Callable[[], int], threads: int) -> tuple[int, float]:
    """(sum of results, seconds) of `work` on every thread at once."""
    begin = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        total = sum(future.result() for future in [pool.submit(work) for _ in range(threads)])
    return total, time.perf_counter() - begin


def _offsets(path: Path, block_bytes: int) -> Iterator[int]:
    """Offsets of all whole blocks in random order, again and again. Sharing it between threads is safe."""
    if not path.is_file():
        raise UsageError(f"no file at {path} to measure the disk with", cure="name an existing large file")
    n_blocks = path.stat().st_size // block_bytes
    if n_blocks == 0:
        numbers = f"{path.stat().st_size} bytes, one block is {block_bytes}"
        raise UsageError(f"{path} is too small to measure the disk with", numbers, "name a larger file")
    order = list(range(n_blocks))
    random.Random(0).shuffle(order)
    return map(lambda block: block * block_bytes, itertools.cycle(order))


@contextmanager
def _opened(path: Path, block_bytes: int, direct: bool) -> Iterator[tuple[int, bool]]:
    """(file descriptor, whether direct); falls back where the file system refuses direct reads."""
    direct = direct and _O_DIRECT != 0 and _takes_direct_reads(path, block_bytes)
    handle = _open(path, os.O_RDONLY | (_O_DIRECT if direct else 0))
    try:
        if not direct:
            _forget(handle, 0, 0)
        yield handle, direct
    finally:
        os.close(handle)


def _takes_direct_reads(path: Path, block_bytes: int) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | _O_DIRECT)
    except OSError:
        return False
    try:
        with mmap.mmap(-1, block_bytes) as buffer:
            return os.preadv(handle, [buffer], 0) == block_bytes
    except OSError:
        return False
    finally:
        os.close(handle)


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags)
    except OSError as error:
        raise ReadError(f"cannot open {path}", f"errno {error.errno}", "check its permissions") from error


def _read_until(deadline: float, handle: int, buffer: mmap.mmap, offsets: Iterator[int], direct: bool) -> int:
    """Reads block after block, at least one. Returns the bytes read."""
    total = 0
    while total == 0 or time.perf_counter() < deadline:
        offset = next(offsets)
        total += _read_block(handle, buffer, offset)
        if not direct:
            _forget(handle, offset, len(buffer))
    return total


def _read_block(handle: int, buffer: mmap.mmap, offset: int) -> int:
    try:
        n = os.preadv(handle, [buffer], offset)
    except OSError as error:
        raise ReadError(
            "the disk failed", f"offset {offset}, errno {error.errno}", "check the disk"
        ) from error
    if n != len(buffer):
        raise ReadError("the file changed", f"offset {offset}: {n} of {len(buffer)} bytes", "leave it alone")
    return n


def _forget(handle: int, offset: int, n_bytes: int) -> None:
    """Asks the kernel to drop these pages from its cache; 0 bytes means to the end."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, offset, n_bytes, os.POSIX_FADV_DONTNEED)
