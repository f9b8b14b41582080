"""The tensors of a layer that have to do with its routed experts, and the numbers that go with them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sixgig.errors import UsageError
from sixgig.families import Role
from sixgig.families.terms.names import ROUTED, stem_of
from sixgig.weights.cut import CutWeights, Indices, TensorCut
from sixgig.weights.stored import WeightInfo, Weights


@dataclass(frozen=True)
class ExpertLayer:
    """One layer's experts.

    down: [width, n_embd, experts]. inner: gate and up, [n_embd, width, experts], or the two fused, gate
    first, [n_embd, 2 width, experts]. attached: their biases [n_out, experts] and scales [experts]. router:
    its weight [n_embd, experts]. steering: its bias and its selection bias [experts], where there are any.
    """

    number: int
    down: WeightInfo
    inner: tuple[WeightInfo, ...]
    attached: tuple[WeightInfo, ...]
    router: WeightInfo
    steering: tuple[WeightInfo, ...]

    @property
    def n_experts(self) -> int:
        """Experts that are there."""
        return self.down.n_matrices

    @property
    def width(self) -> int:
        """Channels of each."""
        return self.down.row_length

    @property
    def routed(self) -> tuple[WeightInfo, ...]:
        """The three-dimensional tensors."""
        return (*self.inner, self.down)

    @property
    def gate_then_up(self) -> tuple[str, ...]:
        """Names of the tensors whose outputs, one after the other, are gate's and up's."""
        stems = {stem_of(info.name): info.name for info in self.inner}
        return tuple(stems[stem] for stem in (ROUTED.gate, ROUTED.up, ROUTED.gate_up) if stem in stems)

    def is_fused(self, info: WeightInfo) -> bool:
        """Whether a tensor, or the one it is attached to, holds gate and up."""
        return stem_of(info.name) == ROUTED.gate_up

    def inner_biases(self) -> tuple[WeightInfo, ...]:
        """The biases of gate and up, [width or twice the width, experts]."""
        return tuple(info for info in self.attached if len(info.shape) == 2 and not _is_down(info))


class ExpertShapes:
    """All layers with experts, as `weights` has them now: cuts that were made before count.

    Raises UsageError for a model without experts.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        numbers = sorted(
            {i.layer for i in weights.tensors if i.role is Role.ROUTED_EXPERT and i.layer is not None}
        )
        if not numbers:
            raise UsageError(f"{weights.model.name} has no experts to prune", weights.model.architecture)
        self.layers = tuple(_layer(weights, number) for number in numbers)

    @property
    def n_experts(self) -> int:
        """Experts of every layer."""
        return self.layers[0].n_experts

    @property
    def n_groups(self) -> int:
        """Equal groups the experts are chosen in; 1 where they are not."""
        return max(1, self.number("expert_group_count", 1))

    @property
    def width(self) -> int:
        """Channels of every expert."""
        return self.layers[0].width

    @cached_property
    def shared_width(self) -> int:
        """Channels of a layer's shared experts together; 0 without any."""
        shared = (i for i in self.weights.tensors if i.role is Role.SHARED_EXPERT and len(i.shape) == 2)
        return next((info.n_elements // self.weights.model.n_embd for info in shared), 0)

    def key(self, name: str) -> str:
        """A metadata key in full."""
        return f"{self.weights.model.architecture}.{name}"

    def number(self, name: str, default: int = 0) -> int:
        """An integer among the metadata as they are now."""
        key = self.key(name)
        value = self.weights.changes.get(key, self.weights.model.metadata.integer(key))
        return value if isinstance(value, int) else default

    def used(self) -> int | list[int]:
        """Experts a token uses, one number or one per layer."""
        key = self.key("expert_used_count")
        value = self.weights.changes.get(key, self.weights.model.metadata.integers(key))
        return value if isinstance(value, int | list) else self.weights.model.n_experts_used


def source_experts(weights: Weights, name: str) -> Indices:
    """For each expert that `weights` has left of a tensor, its number in the model file.

    Raises UsageError where the tensor has lost inputs: what was calibrated no longer fits it.
    """
    if not isinstance(weights, CutWeights):
        return np.arange(next(info for info in weights.tensors if info.name == name).n_matrices)
    before, cut = source_experts(weights.base, name), weights.cut.tensors.get(name, TensorCut())
    if cut.columns is not None:
        raise UsageError(
            f"{name} has been narrowed before", weights.cut.note, "narrow it once, to the last width"
        )
    return before if cut.experts is None else before[cut.experts]


def _is_down(info: WeightInfo) -> bool:
    return stem_of(info.name) == ROUTED.down


def _layer(weights: Weights, number: int) -> ExpertLayer:
    here = [info for info in weights.tensors if info.layer == number]
    routed = [info for info in here if info.role is Role.ROUTED_EXPERT]
    stems = tuple(info.name.removesuffix("weight") for info in routed)
    routers = [info for info in here if info.role is Role.ROUTER]
    return ExpertLayer(
        number,
        next(info for info in routed if _is_down(info)),
        tuple(info for info in routed if not _is_down(info)),
        tuple(info for info in here if info not in routed and info.name.startswith(stems)),
        next(info for info in routers if len(info.shape) == 2),
        tuple(info for info in routers if len(info.shape) == 1),
    )
