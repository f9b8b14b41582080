"""Measuring the disk and the memory of this machine; each takes a second or a few."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sixgig.errors import Cancelled, SixgigError
from sixgig.hardware.bandwidth import disk_read_bandwidth, memory_bandwidth
from sixgig.hardware.machine import Absent, ReadRate
from sixgig.hardware.processor import cache_bytes
from sixgig.units import format_bytes

BLOCKS = (64 << 10, 1 << 20, 4 << 20)  # a small expert's row to a large expert
SECONDS_PER_BLOCK = 0.7
READERS = 4  # as many as the pager has
SMALLEST_FILE, LARGEST_FILE = 64 << 20, 1 << 30
_PIECE = 16 << 20
_MOST_FOLDERS = 4000
_LONGEST_WRITE_S = 10.0  # a memory card takes a minute for a gibibyte: what is written by then must do
_UNKNOWN_CACHES = 64 << 20  # more than most desktop processors have
_CACHES_EXCEEDED = 8  # so that what the caches keep of the arrays hardly counts


@dataclass(frozen=True)
class DiskReads:
    """Rates from the smallest block to the largest. direct: every one of them bypassed the page cache."""

    rates: tuple[ReadRate, ...]
    direct: bool


def measure_disk(
    path: Path, seconds: float = SECONDS_PER_BLOCK, check: Callable[[], object] = lambda: None
) -> DiskReads | Absent:
    """Random reads of `path`, an existing large file, for `seconds` with each size of block.

    Of a folder: of the largest model in it, or, where that is below 1 GiB, of a new file of up to 1 GiB and a
    tenth of the free space, which is removed again. Such a file may flatter: a disk's or a virtual disk's own
    cache may still hold it (seen: 1.4 times the rate of a 7 GB file on the same disk).

    check: is called now and then, and raises Cancelled to end it.
    """
    try:
        existing = _largest_model(path) if path.is_dir() else path
        if existing is not None:
            return _reads(_without_holes(existing), seconds, check)
        with _written_file(path, check) as file:
            return _reads(file, seconds, check)
    except Cancelled:
        raise
    except SixgigError as error:
        return Absent(str(error))
    except (OSError, ValueError, MemoryError) as error:
        return Absent(f"{path}: {getattr(error, 'strerror', None) or error or 'out of memory'}")


def measure_memory(cores: int, available_bytes: int, seconds: float = 0.5) -> float | Absent:
    """Bytes per second that all cores together read from memory, out of arrays larger than the caches.

    Takes at most a quarter of available_bytes; Absent where that is too little to get past the caches.
    """
    caches = cache_bytes() or _UNKNOWN_CACHES
    total = min(_CACHES_EXCEEDED * caches, available_bytes // 4)
    if total < 2 * caches:
        numbers = f"{format_bytes(available_bytes)} available, caches of {format_bytes(caches)}"
        return Absent(f"too little memory to measure it past the caches ({numbers})")
    try:
        return memory_bandwidth(cores, seconds, total // cores).bytes_per_s
    except MemoryError:
        return Absent("too little memory to measure it: the system refused the arrays")


def _largest_model(folder: Path) -> Path | None:
    """The largest GGUF file of 1 GiB or more; a search that leaves off after some thousand folders."""
    sizes: dict[Path, int] = {}
    for parent, _, names in itertools.islice(os.walk(folder), _MOST_FOLDERS):
        for path in (Path(parent, name) for name in names if name.lower().endswith(".gguf")):
            if path.is_file() and not _has_holes(path):
                sizes[path] = path.stat().st_size
    largest = max(sizes, key=sizes.__getitem__, default=None)
    return largest if largest is not None and sizes[largest] >= LARGEST_FILE else None


def _has_holes(path: Path) -> bool:
    status = path.stat()
    return getattr(status, "st_blocks", status.st_size) * 512 < status.st_size * 0.9


def _without_holes(path: Path) -> Path:
    if path.is_file() and _has_holes(path):
        raise OSError(
            0, "it is sparse, or compressed by its file system: reading it tells little of the disk"
        )
    return path


def _reads(path: Path, seconds: float, check: Callable[[], object]) -> DiskReads:
    results = []
    for block in BLOCKS:
        check()
        results.append(disk_read_bandwidth(path, block, READERS, seconds))
    rates = tuple(ReadRate(result.block_bytes, result.bytes_per_s) for result in results)
    return DiskReads(rates, all(result.direct for result in results))


@contextmanager
def _written_file(folder: Path, check: Callable[[], object] = lambda: None) -> Iterator[Path]:
    """A file of incompressible bytes, on the disk and out of the page cache; gone when the block ends.

    Where the system lets open files be named, it has no other name from the start: killed, it is gone too.
    """
    size = _file_bytes(folder)
    handle, name = tempfile.mkstemp(prefix=".sixgig-disk-", dir=folder)
    unnamed = Path(f"/proc/self/fd/{handle}")
    try:
        if unnamed.exists():
            os.unlink(name)
        _fill(handle, size, check)
        yield unnamed if unnamed.exists() else Path(name)
    finally:
        os.close(handle)
        with suppress(FileNotFoundError):
            os.unlink(name)


def _file_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    free_bytes = status.f_bavail * status.f_frsize
    size = min(LARGEST_FILE, free_bytes // 10)
    if size < SMALLEST_FILE:
        raise OSError(0, f"too little free space to measure with ({format_bytes(free_bytes)})")
    return size


def _fill(handle: int, size: int, check: Callable[[], object]) -> None:
    """Random bytes up to `size`, or fewer once that takes too long, but never fewer than SMALLEST_FILE."""
    deadline, written = time.perf_counter() + _LONGEST_WRITE_S, 0
    while written < size and (written < SMALLEST_FILE or time.perf_counter() < deadline):
        check()
        written += os.write(handle, os.urandom(min(_PIECE, size - written)))
        os.fsync(handle)  # piece by piece, so that the clock sees the disk and not the cache
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
