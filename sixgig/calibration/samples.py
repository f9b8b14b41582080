"""A few inputs of chosen weights, kept in a file: for each matrix a uniform sample of all rows it met."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import BudgetError, ModelFileError
from sixgig.units import format_bytes

Floats = NDArray[np.float32]
Counts = NDArray[np.int64]
MAPPED_BYTES = 16 << 20  # of the file that are in memory at most, give or take one call's rows
_PAGE_BYTES = 4096
_HIGHEST = 65504.0  # of float16
_STEP, _MIX = np.uint64(0x9E3779B97F4A7C15), (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True)
class Place:
    """A weight's samples: `n_matrices` times `cap` rows of `n_in` float16, from element `start` on."""

    start: int
    n_matrices: int
    cap: int
    n_in: int

    @property
    def size(self) -> int:
        """Elements."""
        return self.n_matrices * self.cap * self.n_in


@dataclass(frozen=True)
class SampleLayout:
    """Places by weight name, one after the other in the file."""

    places: Mapping[str, Place]

    @staticmethod
    def of(wanted: Mapping[str, tuple[int, int, int]]) -> SampleLayout:
        """wanted: (matrices, rows to keep of each, n_in) by weight name."""
        places, start = dict[str, Place](), 0
        for name, (n_matrices, cap, n_in) in wanted.items():
            places[name] = Place(start, n_matrices, cap, n_in)
            start += places[name].size
        return SampleLayout(places)

    @property
    def size_bytes(self) -> int:
        """Bytes of the file when every matrix has met `cap` rows; what it has not met is a hole."""
        return 2 * sum(place.size for place in self.places.values())


class SampleFile:
    """The samples of a layout at `path`; `seen`: rows each matrix met, int64 [matrices], by weight name.

    Which rows stay depends on their numbers alone (algorithm R with a keyed hash for chance): not on how the
    rows were cut into calls, and a run that goes on from an older `seen` writes the same rows again. Values
    beyond float16 are clipped. Raises BudgetError where the disk has no room.
    """

    def __init__(self, path: Path, layout: SampleLayout, seen: Mapping[str, Counts] | None = None) -> None:
        self.path, self.layout = path, layout
        self.seen = {
            name: np.zeros(place.n_matrices, np.int64) if seen is None else seen[name].copy()
            for name, place in layout.places.items()
        }
        self._touched_bytes = 0
        self._prepare(anew=seen is None)

    def _prepare(self, anew: bool) -> None:
        if anew:
            self.path.unlink(missing_ok=True)
        has = self.path.stat().st_blocks * 512 if self.path.exists() else 0
        free, needed = shutil.disk_usage(self.path.parent).free, self.layout.size_bytes - has
        if needed > free:
            what = "the disk has no room for samples of activations"
            numbers = f"{format_bytes(needed)} needed, {format_bytes(free)} free in {self.path.parent}"
            raise BudgetError(what, numbers, "name another work folder")
        with self.path.open("ab") as file:
            file.truncate(max(self.layout.size_bytes, 2))

    @cached_property
    def _memory(self) -> NDArray[np.float16]:
        return np.memmap(self.path, np.dtype("<f2"), "r+")

    def offer(self, name: str, matrix: int, rows: Floats) -> None:
        """The next rows that a matrix met, [n, n_in]."""
        place, seen = self.layout.places[name], self.seen[name]
        numbers = seen[matrix] + np.arange(len(rows), dtype=np.int64)
        slots = chosen_slots(numbers, place.cap, _key(name, matrix))
        kept = np.flatnonzero(slots < place.cap)
        _, last = np.unique(slots[kept][::-1], return_index=True)
        kept = kept[len(kept) - 1 - last]
        if len(kept):
            _rows(self._memory, place, matrix)[slots[kept]] = rows[kept].clip(-_HIGHEST, _HIGHEST)
        seen[matrix] += len(rows)
        self._touched_bytes += len(kept) * max(2 * place.n_in, _PAGE_BYTES)
        if self._touched_bytes > MAPPED_BYTES:
            self._unmap()

    def sync(self) -> None:
        """Put what was written on disk and let go of its memory."""
        self._unmap()
        with self.path.open("r+b") as file:
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def _unmap(self) -> None:
        """What was written becomes the system's to keep or to write out."""
        self.__dict__.pop("_memory", None)
        self._touched_bytes = 0

    def read(self, name: str, matrix: int) -> Floats:
        """The rows kept of a matrix, float32 [n, n_in], in no order."""
        return read_samples(self.path, self.layout, self.seen, name, matrix)


def read_samples(
    path: Path, layout: SampleLayout, seen: Mapping[str, Counts], name: str, matrix: int
) -> Floats:
    """The rows kept of a matrix, float32 [n, n_in]; ModelFileError when the file is not the layout's."""
    place = layout.places[name]
    count = min(int(seen[name][matrix]), place.cap)
    start = place.start + matrix * place.cap * place.n_in
    try:
        flat = np.fromfile(path, np.dtype("<f2"), count * place.n_in, offset=2 * start)
    except OSError as error:
        raise ModelFileError(f"the samples in {path} cannot be read", str(error.strerror)) from error
    if len(flat) != count * place.n_in:
        raise ModelFileError(
            f"the samples in {path} are cut short", f"{name}, matrix {matrix}", "calibrate again"
        )
    return flat.reshape(count, place.n_in).astype(np.float32)


def chosen_slots(numbers: Counts, cap: int, key: int) -> Counts:
    """Where rows go: the first `cap` in order, row n to a hashed slot below n + 1, if below `cap`."""
    mixed = np.uint64(key) + numbers.astype(np.uint64) * _STEP
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[0]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[1]
    mixed ^= mixed >> np.uint64(31)
    chance = (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.where(numbers < cap, numbers, (chance * (numbers + 1)).astype(np.int64))


def _rows(memory: NDArray[np.float16], place: Place, matrix: int) -> NDArray[np.float16]:
    start, size = place.start + matrix * place.cap * place.n_in, place.cap * place.n_in
    return memory[start : start + size].reshape(place.cap, place.n_in)


def _key(name: str, matrix: int) -> int:
    return int.from_bytes(sha256(f"{name} {matrix}".encode()).digest()[:8], "little")
