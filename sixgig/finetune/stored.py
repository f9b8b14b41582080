"""What a visit computes with: pieces as they come from the reader, dequantised matrix by matrix."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sixgig.finetune.dequantise import dequantise
from sixgig.finetune.operands import ExpertGroup
from sixgig.finetune.reader import Reader
from sixgig.llamacpp.blocks import dequantise_rows
from sixgig.modelfile import ModelFile
from sixgig.modelfile import Tensor as StoredTensor
from sixgig.planning.pieces import Piece, Pieces, Slice, Visit, head_rows_at_once
from sixgig.weights.stored import StoredWeights

Bytes = NDArray[np.uint8]
MOST_AT_ONCE = 1 << 20  # elements a thread dequantises in one call


class Dequantiser:
    """Stored rows as a matrix on the device that computes, in memory that each call uses again.

    dtype: what products are computed in. n_elements: of the largest matrix. On the CPU by ggml's own
    functions on several threads, on a GPU by torch: the same bits.
    """

    def __init__(self, n_elements: int, device: torch.device, dtype: torch.dtype, threads: int) -> None:
        self._device, self._dtype = device, dtype
        self._floats = torch.empty(n_elements, device=device)
        self._narrow = None if dtype == torch.float32 else torch.empty(n_elements, device=device, dtype=dtype)
        self._threads, self._pool = threads, ThreadPoolExecutor(threads, "dequantise")

    def matrix(self, tensor: StoredTensor, stored: Bytes) -> Tensor:
        """Whole rows of a tensor, (n_rows, n_in); valid until the next call."""
        n_in = tensor.shape[0]
        row_bytes = n_in // tensor.type.block_elements * tensor.type.block_bytes
        rows = stored.reshape(-1, row_bytes)
        floats = self._floats[: len(rows) * n_in].view(len(rows), n_in)
        if self._device.type == "cpu":
            self._by_ggml(tensor.type.id, rows, floats.numpy())
        else:
            dequantise(torch.from_numpy(rows).to(self._device), tensor.type.id, n_in, floats)
        if self._narrow is None or tensor.type.name == "F32":  # what a file keeps exact, a router, stays so
            return floats
        return self._narrow[: floats.numel()].view(floats.shape).copy_(floats)

    def _by_ggml(self, type_id: int, rows: Bytes, out: NDArray[np.float32]) -> None:
        step = max(1, min(-(-len(rows) // self._threads), MOST_AT_ONCE // out.shape[1]))
        parts = [slice(first, first + step) for first in range(0, len(rows), step)]
        list(self._pool.map(lambda part: dequantise_rows(type_id, rows[part], out[part]), parts))


class StreamedWeights:
    """Weights (operands.Weights) of the block that is being visited.

    Vectors are read at once and stay. Raises ReadError when the disk fails.
    """

    def __init__(
        self, model: ModelFile, pieces: Pieces, reader: Reader, dequantiser: Dequantiser, device: torch.device
    ) -> None:
        self._pieces, self._reader, self._dequantiser = pieces, reader, dequantiser
        self._names = {tensor.name for tensor in model.tensors}
        self._vectors = {t.name: _vector(model, t).to(device) for t in pieces.vectors}
        self._matrices: dict[str, tuple[Slice, Bytes]] = {}
        self._groups: tuple[Piece, ...] = ()

    @contextmanager
    def visit(self, visit: Visit) -> Iterator[None]:
        """The block's matrices are in memory while the block runs; its experts come when asked for."""
        self._matrices = {
            part.tensor.name: (part, raw)
            for part, raw in zip(visit.dense.slices, self._reader.take(visit.dense), strict=True)
        }
        self._groups = visit.groups
        yield
        self._matrices = {}
        self._reader.release(visit.dense)

    def __contains__(self, name: str) -> bool:
        """Whether the model has this tensor."""
        return name in self._names

    def matrix(self, name: str) -> Tensor:
        """As operands.Weights."""
        part, raw = self._matrices[name]
        return self._dequantiser.matrix(part.tensor, raw)

    def vector(self, name: str) -> Tensor:
        """As operands.Weights."""
        return self._vectors[name]

    def expert_groups(self, layer: int) -> Iterator[ExpertGroup]:
        """As operands.Weights."""
        for piece in self._groups:
            group = _Group(piece, self._reader.take(piece), self._dequantiser)
            yield group
            group.close()
            self._reader.release(piece)

    def head_rows(self) -> Iterator[tuple[int, Tensor]]:
        """The head's matrix by rows: (first row, weights (n_rows, n_embd)), valid until the next."""
        for piece in self._pieces.head:
            (raw,), tensor = self._reader.take(piece), piece.slices[0].tensor
            rows = raw.reshape(piece.last - piece.first, -1)
            for first in range(0, len(rows), step := head_rows_at_once(tensor)):
                yield piece.first + first, self._dequantiser.matrix(tensor, rows[first : first + step])
            del raw, rows
            self._reader.release(piece)


class _Group:
    """operands.ExpertGroup on a piece."""

    def __init__(self, piece: Piece, slices: list[Bytes], dequantiser: Dequantiser) -> None:
        self.first, self.last, self._dequantiser = piece.first, piece.last, dequantiser
        self._stacks = {
            part.tensor.name: (part.tensor, raw.reshape(piece.last - piece.first, -1))
            for part, raw in zip(piece.slices, slices, strict=True)
        }

    def matrix(self, name: str, expert: int) -> Tensor:
        """As operands.ExpertGroup."""
        tensor, experts = self._stacks[name]
        return self._dequantiser.matrix(tensor, experts[expert - self.first])

    def close(self) -> None:
        """Let go of the memory, whoever still holds the group."""
        self._stacks.clear()


class Embedding:
    """Rows of the embedding, read when asked for: no step needs them all."""

    def __init__(self, model: ModelFile, name: str) -> None:
        self._weights, self._name = StoredWeights(model), name

    def rows(self, tokens: NDArray[np.int32]) -> Tensor:
        """(tokens, n_embd) float32 in main memory."""
        wanted, places = np.unique(tokens, return_inverse=True)
        rows = np.concatenate([self._weights.rows(self._name, int(t), int(t) + 1) for t in wanted])
        return torch.from_numpy(rows[places])


def _vector(model: ModelFile, tensor: StoredTensor) -> Tensor:
    n_rows = prod(tensor.shape[1:])
    values = StoredWeights(model).rows(tensor.name, 0, n_rows)
    return torch.from_numpy(values.reshape(tuple(reversed(tensor.shape))))
