"""Importance matrices as llama.cpp's imatrix tool writes them.

A GGUF file whose general.type is "imatrix": for each weight, `<weight>.in_sum2`, float32 [matrices, n_in],
sums of the squared inputs, and `<weight>.counts`, float32 [matrices, 1], how many inputs were summed. What
else the tool writes, sums and statistics, is not read. Its older form, not GGUF, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import ModelFileError
from sixgig.modelfile.arrays import Array, read_arrays, write_arrays
from sixgig.modelfile.metadata import Metadata

Floats = NDArray[np.float32]
_SUMS, _COUNTS = ".in_sum2", ".counts"
_DATASETS, _CHUNK_COUNT, _CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
_CURE = "make it again, or convert an old one: llama-imatrix --in-file OLD -o NEW.gguf"


@dataclass(frozen=True)
class Imatrix:
    """entries: by weight name, sums of squares float32 [matrices, n_in] and counts float32 [matrices].

    datasets: names of the texts. chunk_count windows of chunk_size tokens were read.
    """

    entries: Mapping[str, tuple[Floats, Floats]]
    datasets: tuple[str, ...] = ()
    chunk_count: int = 0
    chunk_size: int = 0

    def importance(self, name: str) -> Floats | None:
        """The mean squared input of each matrix of a weight, float32 [matrices, n_in]; None if not there.

        Ones for a matrix that no input met, as llama.cpp's quantizer takes it.
        """
        if name not in self.entries:
            return None
        return mean_squares(*self.entries[name])

    def fitted(self, shapes: Mapping[str, tuple[int, ...]]) -> Imatrix:
        """Its entries in the shapes of a model's weights, ne order; those of other weights are left out.

        The tool counts the stacked matrices of an attention weight together, in one long row: they get a row
        each. Raises ModelFileError where an entry does not fit its weight: it is of another model.
        """
        entries = {
            name: _fit(name, *entry, shapes[name]) for name, entry in self.entries.items() if name in shapes
        }
        return replace(self, entries=entries)


def mean_squares(squares: Floats, counts: NDArray[np.floating | np.integer]) -> Floats:
    """Sums over counts, [matrices, n_in]; ones where the count is 0."""
    divisor = np.asarray(counts, np.float32)[:, None]
    return np.divide(squares, divisor, out=np.ones(squares.shape, np.float32), where=divisor > 0)


def read_imatrix(path: Path) -> Imatrix:
    """The importance matrix in a file; ModelFileError for what is none, or holds what cannot be."""
    header, arrays = read_arrays(path)
    kind = header.metadata.text("general.type")
    if kind != "imatrix":
        raise ModelFileError(f"{path.name} is no importance matrix", f"general.type is {kind!r}", _CURE)
    names = {
        name.removesuffix(ending) for ending in (_SUMS, _COUNTS) for name in arrays if name.endswith(ending)
    }
    if not names:
        raise ModelFileError(f"{path.name} holds no importances", cure=_CURE)
    entries = {name: _entry(path, name, arrays) for name in sorted(names)}
    return Imatrix(entries, *_provenance(header.metadata))


def write_imatrix(path: Path, imatrix: Imatrix) -> None:
    """Writes a file that llama.cpp's tools read; it appears whole or not at all. Raises OSError."""
    arrays = dict[str, Array]()
    for name, (squares, counts) in sorted(imatrix.entries.items()):
        arrays[name + _SUMS], arrays[name + _COUNTS] = squares, counts.reshape(-1, 1)
    metadata = {
        "general.type": "imatrix",
        _DATASETS: list(imatrix.datasets) or [""],
        _CHUNK_COUNT: imatrix.chunk_count,
        _CHUNK_SIZE: imatrix.chunk_size,
    }
    write_arrays(path, metadata, arrays)


def _provenance(metadata: Metadata) -> tuple[tuple[str, ...], int, int]:
    """Datasets, number and size of chunks; what is missing is empty or 0."""
    texts = metadata.array(_DATASETS) if _DATASETS in metadata else []
    count, size = (metadata.integer(key) or 0 for key in (_CHUNK_COUNT, _CHUNK_SIZE))
    return tuple(str(text) for text in texts if text), count, size


def _entry(path: Path, name: str, arrays: Mapping[str, Array]) -> tuple[Floats, Floats]:
    squares, counts = (arrays.get(name + ending) for ending in (_SUMS, _COUNTS))
    if squares is None or counts is None:
        raise _bad(path, name, "has no counts" if counts is None else "has no sums")
    if squares.dtype != np.float32 or counts.dtype != np.float32:
        raise _bad(path, name, f"is {squares.dtype} and {counts.dtype}, not float32")
    if squares.size % counts.size:
        raise _bad(path, name, f"has {squares.size} sums for {counts.size} counts")
    squares, counts = squares.reshape(counts.size, -1), counts.reshape(-1)
    for what, values in (("sums", squares), ("counts", counts)):
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise _bad(path, name, f"has {what} that are negative or no numbers")
    if (counts != np.rint(counts)).any():
        raise _bad(path, name, "has counts that are no whole numbers")
    return squares, counts


def _fit(name: str, squares: Floats, counts: Floats, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    n_in, n_matrices = shape[0], prod(shape[2:])
    if squares.size != n_in * n_matrices or len(counts) not in (1, n_matrices):
        numbers = f"{squares.size} sums and {len(counts)} counts for {n_matrices} of {n_in} inputs"
        what = f"the importances of {name} are those of another model"
        raise ModelFileError(what, numbers, "name the importance matrix of this model")
    return squares.reshape(n_matrices, n_in), np.broadcast_to(counts, n_matrices)


def _bad(path: Path, name: str, numbers: str) -> ModelFileError:
    return ModelFileError(f"{path.name} is damaged", f"{name[:80]} {numbers}", _CURE)
