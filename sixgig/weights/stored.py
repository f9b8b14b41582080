"""A model's weights as the shrinker reads them: rows of float32, whatever they are stored in or cut from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import ReadError
from sixgig.families import Role
from sixgig.llamacpp.blocks import dequantise_rows
from sixgig.modelfile import GgmlType, ModelFile, Tensor

_LOOKED_AT_ELEMENTS = 1 << 20
Floats = NDArray[np.float32]
Importance = Callable[[str], Floats | None]
"""Mean squared inputs of a tensor by name, [matrices, n_in]; None where it met none."""


@dataclass(frozen=True)
class WeightInfo:
    """One tensor: `shape` is ne order (row length first), `type` what the source holds it in."""

    name: str
    shape: tuple[int, ...]
    type: GgmlType
    role: Role
    layer: int | None

    @property
    def row_length(self) -> int:
        """Elements of a row: the inputs of a matrix."""
        return self.shape[0]

    @property
    def n_rows(self) -> int:
        """Rows of all matrices together."""
        return prod(self.shape[1:])

    @property
    def rows_per_matrix(self) -> int:
        """Rows of one matrix: its outputs."""
        return self.shape[1] if len(self.shape) > 1 else 1

    @property
    def n_matrices(self) -> int:
        """Matrices: experts of a routed tensor, else 1."""
        return prod(self.shape[2:])

    @property
    def n_elements(self) -> int:
        """All elements."""
        return prod(self.shape)


class Weights(Protocol):
    """What can be shrunk. Rows count through all matrices of a tensor, in file order."""

    @property
    def model(self) -> ModelFile:
        """The model file underneath: metadata, family, hyperparameters."""

    @property
    def changes(self) -> Mapping[str, object]:
        """Metadata that differs from the model's: key to value, None to drop."""

    @property
    def tensors(self) -> tuple[WeightInfo, ...]:
        """Every tensor, in file order."""

    def rows(self, name: str, first: int, last: int) -> Floats:
        """Rows [first, last) of a tensor, (last - first, row_length)."""

    def stored(self, name: str, first: int, last: int) -> NDArray[np.uint8] | None:
        """The same rows as the source stores them, bytes; None where they are computed."""


class StoredWeights:
    """The weights of a model file, read when asked for; nothing is kept."""

    def __init__(self, model: ModelFile) -> None:
        self.model = model
        self.changes: Mapping[str, object] = {}

    @cached_property
    def tensors(self) -> tuple[WeightInfo, ...]:
        """Every tensor, in file order."""
        return tuple(_info(tensor) for tensor in self.model.tensors)

    def rows(self, name: str, first: int, last: int) -> Floats:
        """Rows [first, last) as float32; ReadError when the file has become shorter."""
        tensor = self._by_name[name]
        values = np.empty((last - first, tensor.shape[0]), np.float32)
        dequantise_rows(tensor.type.id, self.stored(name, first, last), values)
        return values

    def stored(self, name: str, first: int, last: int) -> NDArray[np.uint8]:
        """Rows [first, last) as they lie in the file."""
        tensor = self._by_name[name]
        row_bytes = tensor.shape[0] // tensor.type.block_elements * tensor.type.block_bytes
        return self._read(tensor, first * row_bytes, (last - first) * row_bytes)

    @cached_property
    def _by_name(self) -> dict[str, Tensor]:
        return {tensor.name: tensor for tensor in self.model.tensors}

    def _read(self, tensor: Tensor, start: int, size: int) -> NDArray[np.uint8]:
        path = self.model.parts[tensor.part]
        raw = np.fromfile(path, np.uint8, size, offset=tensor.offset + start)
        if raw.size != size:
            raise ReadError(
                f"{path} ends inside {tensor.name}", f"at byte {tensor.offset + start + raw.size}"
            )
        return raw


def not_finite(weights: Weights) -> str | None:
    """The first tensor with a value that is no finite number, None where there is none; reads all of them, a
    few MB at a time."""
    for info in weights.tensors:
        step = max(1, _LOOKED_AT_ELEMENTS // info.row_length)
        for first in range(0, info.n_rows, step):
            if not np.isfinite(weights.rows(info.name, first, min(first + step, info.n_rows))).all():
                return info.name
    return None


def _info(tensor: Tensor) -> WeightInfo:
    return WeightInfo(tensor.name, tensor.shape, tensor.type, tensor.role, tensor.layer)
