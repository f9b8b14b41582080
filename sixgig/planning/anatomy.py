"""A model's layers as the planner sees them: which remember what, and which weights each has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

from sixgig.families import Role
from sixgig.modelfile import ModelFile, Tensor


@dataclass(frozen=True)
class Weights:
    """The matrices of one storage type: elements in all, and rows (a row is one output)."""

    type: str
    n_weights: float
    n_rows: float
    size_bytes: float


@dataclass(frozen=True)
class Layer:
    """recurrent: keeps a state of fixed size instead of a cache. slides: looks back a window only."""

    number: int
    recurrent: bool
    slides: bool
    dense: tuple[Tensor, ...]
    routed: tuple[Tensor, ...]

    @cached_property
    def dense_bytes(self) -> int:
        """Bytes of all that is not a routed expert."""
        return sum(tensor.size_bytes for tensor in self.dense)

    @cached_property
    def routed_bytes(self) -> int:
        """Bytes of its routed experts."""
        return sum(tensor.size_bytes for tensor in self.routed)


@dataclass(frozen=True)
class Anatomy:
    """layers: those that run (none for multi-token prediction). head: what is multiplied at the end; it is
    the embedding itself where the file has no head of its own.
    """

    model: ModelFile
    layers: tuple[Layer, ...]
    embedding: tuple[Tensor, ...]
    head: tuple[Tensor, ...]

    @property
    def tied(self) -> bool:
        """Whether the embedding serves as the head."""
        return not any(tensor.role is Role.HEAD for tensor in self.head)

    @cached_property
    def n_vocab(self) -> int:
        """Rows of the embedding."""
        return max((tensor.shape[-1] for tensor in self.embedding), default=self.model.n_vocab)

    @cached_property
    def routed_bytes(self) -> int:
        """Bytes of all routed experts that run."""
        return sum(layer.routed_bytes for layer in self.layers)

    @cached_property
    def dense_bytes(self) -> int:
        """Bytes of all other weights that run."""
        outside = (*self.embedding, *self.head)
        return sum(layer.dense_bytes for layer in self.layers) + sum(tensor.size_bytes for tensor in outside)

    @cached_property
    def n_routed_layers(self) -> int:
        """Layers with routed experts."""
        return sum(bool(layer.routed) for layer in self.layers)

    @property
    def cycle_bytes(self) -> float:
        """Bytes of the experts one token uses in all layers."""
        return self.routed_bytes * self.model.n_experts_used / max(self.model.n_experts, 1)

    @property
    def n_pieces(self) -> int:
        """Reads that fetch the experts of one token: one for each expert's part in each tensor."""
        return sum(len(layer.routed) for layer in self.layers) * self.model.n_experts_used


def anatomy(model: ModelFile) -> Anatomy:
    """Walk the tensors once."""
    n_layers = model.n_layers - model.hyperparameters.n_prediction_layers
    inside: dict[int, list[Tensor]] = {number: [] for number in range(n_layers)}
    outside = []
    for tensor in model.tensors:
        if tensor.layer is None:
            outside.append(tensor)
        elif tensor.layer < n_layers:
            inside[tensor.layer].append(tensor)
    return Anatomy(
        model=model,
        layers=tuple(_layer(model, number, tensors) for number, tensors in inside.items()),
        embedding=tuple(tensor for tensor in outside if tensor.role is Role.EMBEDDING),
        head=tuple(tensor for tensor in outside if tensor.role is not Role.EMBEDDING),
    )


def _layer(model: ModelFile, number: int, tensors: list[Tensor]) -> Layer:
    return Layer(
        number=number,
        recurrent=any(tensor.role is Role.LINEAR_ATTENTION for tensor in tensors),
        slides=_slides(model, number),
        dense=tuple(tensor for tensor in tensors if tensor.role is not Role.ROUTED_EXPERT),
        routed=tuple(tensor for tensor in tensors if tensor.role is Role.ROUTED_EXPERT),
    )


def _slides(model: ModelFile, number: int) -> bool:
    """By the family's rule; the file's own flags or period come first, as in llama.cpp."""
    rule = model.family.sliding
    if rule is None:
        return False
    shape = model.attention
    if shape.window_layers:
        return shape.window_layers[number]
    period = shape.window_period or rule.period
    return number % period != period - 1


def weights_by_type(tensors: tuple[Tensor, ...], share: float = 1.0) -> tuple[Weights, ...]:
    """The matrices among `tensors` by type; `share` of each (of experts those used)."""
    found: dict[str, list[float]] = {}
    for tensor in tensors:
        if len(tensor.shape) > 1:
            sums = found.setdefault(tensor.type.name, [0.0, 0.0, 0.0])
            sums[0] += share * prod(tensor.shape)
            sums[1] += share * prod(tensor.shape[1:])
            sums[2] += share * tensor.size_bytes
    return tuple(Weights(name, *sums) for name, sums in found.items())
