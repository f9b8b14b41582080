"""What structured pruning takes out of a model, as data; and the weights that are left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sixgig.modelfile import TYPE_BY_NAME, ModelFile
from sixgig.weights.stored import Floats, Importance, WeightInfo, Weights

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class TensorCut:
    """What stays of one tensor; None means everything. Indices count in the source, ascending.

    experts: matrices that stay. rows: of each matrix that stays, its outputs, shape [kept] for all matrices
    alike or [experts kept, kept]. columns: its inputs, the same way. folding: path of a float16 or float32
    .npy array [experts kept or 1, n_in, columns kept]; a matrix W [n_out, n_in] becomes W @ folding[e], which
    has the identity in the rows of kept columns and, in the others, what makes up for them. It is read one
    matrix at a time. With `folding`, `columns` names the same columns.
    """

    experts: Indices | None = None
    rows: Indices | None = None
    columns: Indices | None = None
    folding: Path | None = None


@dataclass(frozen=True)
class Cut:
    """A structural change: tensors that lose parts, small tensors replaced or new, metadata that follow.

    replaced: name to a float32 array in numpy order (last axis is ne0), stored as F32: biases that were not
    there, routers with other rows; layer and role come from the family. metadata: GGUF key to int, float,
    string or list of ints; general.architecture may be among them.
    """

    tensors: Mapping[str, TensorCut] = field(default_factory=dict)
    replaced: Mapping[str, Floats] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)
    note: str = ""


class CutWeights:
    """`base` with a cut applied when its rows are read."""

    def __init__(self, base: Weights, cut: Cut) -> None:
        self.base, self.cut = base, cut
        self.changes: Mapping[str, object] = {**base.changes, **cut.metadata}

    @property
    def model(self) -> ModelFile:
        """The model file underneath."""
        return self.base.model

    @cached_property
    def tensors(self) -> tuple[WeightInfo, ...]:
        """Every tensor that is left, in file order; new ones after those of their layer's source."""
        kept = [self._left(info) for info in self.base.tensors]
        known = {info.name for info in kept}
        return (*kept, *(self._new(name) for name in self.cut.replaced if name not in known))

    def stored(self, name: str, first: int, last: int) -> NDArray[np.uint8] | None:
        """The source's bytes where the tensor is whole, else None."""
        if name in self.cut.replaced or name in self.cut.tensors:
            return None
        return self.base.stored(name, first, last)

    def rows(self, name: str, first: int, last: int) -> Floats:
        """Rows [first, last) of what is left."""
        if name in self.cut.replaced:
            values = self.cut.replaced[name]
            return np.ascontiguousarray(values.reshape(-1, values.shape[-1])[first:last], np.float32)
        if name not in self.cut.tensors:
            return self.base.rows(name, first, last)
        per_matrix, pieces = self._left(self._source[name]).rows_per_matrix, []
        while first < last:
            matrix, start = divmod(first, per_matrix)
            stop = min(per_matrix, start + last - first)
            pieces.append(self._piece(name, matrix, start, stop))
            first += stop - start
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    @cached_property
    def _source(self) -> dict[str, WeightInfo]:
        return {info.name: info for info in self.base.tensors}

    def _piece(self, name: str, matrix: int, start: int, stop: int) -> Floats:
        """Rows [start, stop) of one matrix that is left."""
        cut, info = self.cut.tensors[name], self._source[name]
        source = matrix if cut.experts is None else int(cut.experts[matrix])
        first = source * info.rows_per_matrix
        rows = _of(cut.rows, matrix)
        if rows is None:
            values = self.base.rows(name, first + start, first + stop)
        else:
            wanted = rows[start:stop]
            low, high = int(wanted.min()), int(wanted.max()) + 1
            values = self.base.rows(name, first + low, first + high)[wanted - low]
        return _columns(values, cut, matrix)

    def _left(self, info: WeightInfo) -> WeightInfo:
        if info.name in self.cut.replaced:
            return self._new(info.name)
        cut = self.cut.tensors.get(info.name)
        if cut is None:
            return info
        shape = list(info.shape)
        for axis, indices in ((0, cut.columns), (1, cut.rows), (2, cut.experts)):
            if indices is not None:
                shape[axis] = indices.shape[-1]
        return WeightInfo(info.name, tuple(shape), info.type, info.role, info.layer)

    def _new(self, name: str) -> WeightInfo:
        role, layer = self.model.family.classify(name)
        shape = tuple(reversed(self.cut.replaced[name].shape))
        return WeightInfo(name, shape, TYPE_BY_NAME["F32"], role, layer)


def _of(indices: Indices | None, matrix: int) -> Indices | None:
    """What stays in one matrix."""
    if indices is None or indices.ndim == 1:
        return indices
    chosen: Indices = indices[matrix]
    return chosen


def _columns(values: Floats, cut: TensorCut, matrix: int) -> Floats:
    """The inputs that stay, what the others did folded into them where that was computed."""
    if cut.folding is not None:
        foldings = np.load(cut.folding, mmap_mode="r")
        folding = np.asarray(foldings[matrix if len(foldings) > 1 else 0], np.float32)
        return np.ascontiguousarray(values @ folding)
    columns = _of(cut.columns, matrix)
    return np.ascontiguousarray(values if columns is None else values[:, columns])


def cut_importance(importance: Importance, cut: Cut) -> Importance:
    """Mean squared inputs of what is left."""

    def of(name: str) -> Floats | None:
        found, change = importance(name), cut.tensors.get(name)
        if found is None or change is None:
            return found
        if change.experts is not None and len(found) > 1:
            found = found[change.experts]
        if change.columns is None:
            return found
        columns = np.broadcast_to(change.columns, (len(found), change.columns.shape[-1]))
        return np.ascontiguousarray(np.take_along_axis(found, columns, axis=1))

    return of
