"""What a block computes with: the model's frozen weights, and the adapter's trainable ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

Factors = tuple[Tensor, Tensor]
"""A (rank, n_in) and B (n_out, rank) of a matrix; of a stack of experts with n_experts in front."""


class ExpertGroup(Protocol):
    """Experts [first, last) of one layer, in memory."""

    first: int
    last: int

    def matrix(self, name: str, expert: int) -> Tensor:
        """One expert's weights of the stack `name`, (n_out, n_in); valid until the next matrix is asked."""


class Weights(Protocol):
    """A block's weights by their names in the file, dequantised on the device that computes.

    Products are computed in the type that `matrix` gives. Memory is handed out again: what outlives the next
    call must be copied, and no graph may keep it.
    """

    def __contains__(self, name: str) -> bool:
        """Whether the model has this tensor."""

    def matrix(self, name: str) -> Tensor:
        """A two-dimensional weight, (n_out, n_in); valid until the next matrix is asked for."""

    def vector(self, name: str) -> Tensor:
        """Any small tensor (norms, biases, convolutions) in float32 and numpy's order; stays valid."""

    def expert_groups(self, layer: int) -> Iterator[ExpertGroup]:
        """The layer's routed experts, each once, ascending; a group is gone when the next is asked for."""


@dataclass(frozen=True)
class Operands:
    """Weights and adapter. factors: by the name of the tensor they adapt; scale: alpha / rank.

    value_unused: only gradients are wanted of what is computed, its value is not; routed experts, which only
    add to the residual stream, then leave it out.
    """

    weights: Weights
    factors: Mapping[str, Factors] = field(default_factory=dict)
    scale: float = 1.0
    value_unused: bool = False

    def linear(self, name: str, x: Tensor) -> Tensor:
        """From x (tokens, n_in), through the matrix "`name`.weight", bias and adapter: (tokens, n_out)."""
        y = frozen_product(x, self.weights, f"{name}.weight")
        if f"{name}.bias" in self.weights:
            y = y + self.weights.vector(f"{name}.bias").to(y.dtype)
        return self.adapted(name, x, y)

    def adapted(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        """The product y of x and "`name`.weight", with the adapter's added where there is one."""
        pair = self.factors.get(f"{name}.weight")
        return y if pair is None else y + self.scale * low_rank(x, *pair)


def low_rank(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The product x A^T B^T, (tokens, n_out)."""
    return (x @ a.T) @ b.T


def frozen_product(x: Tensor, weights: Weights, name: str) -> Tensor:
    """The product x W^T for a frozen W, dequantised here and again for the gradient: no graph holds it."""
    product: Tensor = _FrozenProduct.apply(x, weights, name)  # type: ignore[no-untyped-call]
    return product


class _FrozenProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Weights, name: str) -> Tensor:
        ctx.weights, ctx.name = weights, name
        w = weights.matrix(name)
        return (x.to(w.dtype) @ w.T).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        w = ctx.weights.matrix(ctx.name)
        return (grad.to(w.dtype) @ w).to(grad.dtype), None, None
