"""A model cut into pieces that tuning reads from disk at once: half a layer's matrices, a group of experts.

A layer is two visits, what mixes tokens and the feed-forward part. A training step goes through all visits
forward and through them again backward, so the order of reading is known beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from sixgig.families import Role
from sixgig.modelfile import Tensor
from sixgig.planning.anatomy import Anatomy, Layer

GROUP_BYTES = 64 << 20  # large enough for any disk's full speed, small enough to overlap and to fit
HEAD_ELEMENTS = 4 << 20  # of the head's matrix dequantised at once, however large the vocabulary is
PAGE_BYTES = 4096
_MIXING = (Role.ATTENTION, Role.LINEAR_ATTENTION)


@dataclass(frozen=True)
class Slice:
    """Whole rows of a tensor, contiguous in its file: `size_bytes` from `offset` of file number `part`."""

    tensor: Tensor
    offset: int
    size_bytes: int

    @property
    def part(self) -> int:
        """Which file."""
        return self.tensor.part

    @property
    def pages(self) -> tuple[int, int]:
        """(first byte, length) in whole pages: what direct I/O reads, and what it takes in memory."""
        first = self.offset // PAGE_BYTES * PAGE_BYTES
        return first, -(-(self.offset + self.size_bytes - first) // PAGE_BYTES) * PAGE_BYTES


@dataclass(frozen=True)
class Piece:
    """Read as one. first, last: which experts, or which rows of the head; 0 and 0 for whole matrices."""

    slices: tuple[Slice, ...]
    first: int = 0
    last: int = 0

    @cached_property
    def size_bytes(self) -> int:
        """Bytes as stored."""
        return sum(part.size_bytes for part in self.slices)

    @cached_property
    def held_bytes(self) -> int:
        """Memory it takes."""
        return sum(part.pages[1] for part in self.slices)


@dataclass(frozen=True)
class Visit:
    """What half a layer reads: its matrices, then its experts group by group."""

    dense: Piece
    groups: tuple[Piece, ...] = ()

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """All, in order."""
        return (self.dense, *self.groups)

    @property
    def held_bytes(self) -> int:
        """All together."""
        return sum(piece.held_bytes for piece in self.pieces)

    @property
    def least_bytes(self) -> int:
        """Held at once at least: the matrices and a group."""
        return self.dense.held_bytes + max((piece.held_bytes for piece in self.groups), default=0)


@dataclass(frozen=True)
class Pieces:
    """visits: two a layer. head: by rows. vectors: small tensors, which always stay in memory."""

    visits: tuple[Visit, ...]
    head: tuple[Piece, ...]
    vectors: tuple[Tensor, ...]

    def forward(self) -> Iterator[Piece]:
        """In the order of a pass without gradients."""
        for visit in self.visits:
            yield from visit.pieces
        yield from self.head

    def step(self, lowest: int = 0) -> Iterator[Piece]:
        """In the order of a training step whose gradients go down to visit `lowest`."""
        yield from self.forward()
        for visit in reversed(self.visits[lowest:]):
            yield from visit.pieces

    @property
    def largest_matrix(self) -> int:
        """Elements of the largest matrix dequantised at once: of a layer, of an expert, of the head."""
        inside = (part.tensor.shape[:2] for v in self.visits for p in v.pieces for part in p.slices)
        head = self.head[0].slices[0].tensor
        return max(*map(prod, inside), min(head_rows_at_once(head), head.shape[1]) * head.shape[0])


def head_rows_at_once(tensor: Tensor) -> int:
    """Rows of the head that are dequantised and multiplied by together."""
    return max(1, HEAD_ELEMENTS // tensor.shape[0])


def pieces_of(model: Anatomy, group_bytes: int = GROUP_BYTES) -> Pieces:
    """The pieces of the layers that run, and of the head."""
    n_experts = model.model.n_experts
    visits = tuple(visit for layer in model.layers for visit in _visits(layer, n_experts, group_bytes))
    inside = (tensor for layer in model.layers for tensor in layer.dense)
    vectors = tuple(tensor for tensor in (*inside, *model.head) if is_vector(tensor))
    matrices = [tensor for tensor in (*model.head, *model.embedding) if not is_vector(tensor)]
    return Pieces(visits, tuple(_rows(matrices[0], group_bytes)), vectors)


def is_vector(tensor: Tensor) -> bool:
    """Norms, biases, scales, convolutions: small, and used as they are."""
    return len(tensor.shape) == 1 or tensor.role is Role.CONVOLUTION


def _visits(layer: Layer, n_experts: int, group_bytes: int) -> Iterator[Visit]:
    matrices = [tensor for tensor in layer.dense if not is_vector(tensor)]
    yield Visit(_whole(tensor for tensor in matrices if tensor.role in _MIXING))
    rest = _whole(tensor for tensor in matrices if tensor.role not in _MIXING)
    yield Visit(rest, tuple(_groups(layer.routed, n_experts, group_bytes)) if layer.routed else ())


def _whole(tensors: Iterable[Tensor]) -> Piece:
    return Piece(tuple(Slice(tensor, tensor.offset, tensor.size_bytes) for tensor in tensors))


def _groups(stacks: Sequence[Tensor], n_experts: int, group_bytes: int) -> Iterator[Piece]:
    """Equal groups of experts, of all their tensors together."""
    expert_bytes = sum(tensor.size_bytes for tensor in stacks) // n_experts
    step = max(1, min(n_experts, group_bytes // expert_bytes))
    for first in range(0, n_experts, step):
        last = min(first + step, n_experts)
        yield Piece(tuple(_run(tensor, first, last, n_experts) for tensor in stacks), first, last)


def _rows(tensor: Tensor, group_bytes: int) -> Iterator[Piece]:
    n_rows = tensor.shape[1]
    step = max(1, min(n_rows, group_bytes * n_rows // tensor.size_bytes))
    for first in range(0, n_rows, step):
        last = min(first + step, n_rows)
        yield Piece((_run(tensor, first, last, n_rows),), first, last)


def _run(tensor: Tensor, first: int, last: int, count: int) -> Slice:
    """Items [first, last) of `count` equal ones that the tensor consists of."""
    each = tensor.size_bytes // count
    return Slice(tensor, tensor.offset + first * each, (last - first) * each)
