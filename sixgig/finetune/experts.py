"""The routed experts of a layer, group by group as they come from disk, forward and backward.

Each pass goes through the groups once. Backward, each expert is computed again with gradients, for its own
tokens only, so no more than one expert's weights and activations are held. Experts run in ascending order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sixgig.finetune.feed_forward import gated_unit
from sixgig.finetune.operands import ExpertGroup, Operands

MOST_ROWS = 2048  # tokens an expert computes at once
HELD_ELEMENTS = 8 << 20  # of a matrix that is dequantised once an expert backward; larger: for each product


def routed_experts(
    x: Tensor,
    gates: Tensor,
    chosen: Tensor,
    n_experts: int,
    layer: int,
    names: tuple[str, ...],
    operands: Operands,
) -> Tensor:
    """The sum over a token's experts of gate times the expert's `gated_unit`, (tokens, n_embd).

    x (tokens, n_embd), gates and chosen (tokens, n_used), chosen without repeats; names: of the stacks.
    Gradients go to x, gates and the factors of the stacks. Zeros, and nothing read, where
    operands.value_unused.
    """
    adapted = tuple(f"{name}.weight" for name in names if f"{name}.weight" in operands.factors)
    factors = [factor for name in adapted for factor in operands.factors[name]]
    work = _Work(layer, names, adapted, operands, chosen.shape[1], _places(chosen, n_experts))
    result: Tensor = _RoutedExperts.apply(x, gates, work, *factors)  # type: ignore[no-untyped-call]
    return result


def _places(chosen: Tensor, n_experts: int) -> tuple[Tensor, ...]:
    """For each expert, where in chosen.flatten() it stands, ascending."""
    flat = chosen.flatten()
    counts = torch.bincount(flat, minlength=n_experts).tolist()
    return torch.split(flat.argsort(stable=True), counts)


@dataclass(frozen=True)
class _Work:
    """adapted: the stacks that have factors, in the order in which their A and B are passed around."""

    layer: int
    names: tuple[str, ...]
    adapted: tuple[str, ...]
    operands: Operands
    n_used: int
    places: tuple[Tensor, ...]

    def experts(self, again: bool) -> Iterator[tuple[int, _Expert, Tensor]]:
        """Each expert some token chose, ascending: its number, its weights, its places, some at a time.

        again: each matrix is used more than once.
        """
        for group in self.operands.weights.expert_groups(self.layer):
            for number in range(group.first, group.last):
                expert = _Expert(group, number, again)
                for places in torch.split(self.places[number], MOST_ROWS):
                    if len(places):
                        yield number, expert, places

    def compute(self, expert: _Expert, x: Tensor, gates: Tensor, *factors: Tensor) -> Tensor:
        """One expert's part for the rows x, times their gates. factors: of this expert."""
        pairs = dict(zip(self.adapted, zip(factors[::2], factors[1::2], strict=True), strict=True))
        return gated_unit(x, Operands(expert, pairs, self.operands.scale), self.names) * gates.unsqueeze(1)


class _Expert:
    """One expert as operands.Weights: its matrices under their stacks' names, and nothing else."""

    def __init__(self, group: ExpertGroup, number: int, again: bool) -> None:
        self._group, self._number, self._again = group, number, again
        self._held: dict[str, Tensor] = {}

    def __contains__(self, name: str) -> bool:
        """It has no biases."""
        return False

    def matrix(self, name: str) -> Tensor:
        """As operands.Weights."""
        if name in self._held:
            return self._held[name]
        matrix = self._group.matrix(name, self._number)
        if self._again and matrix.numel() <= HELD_ELEMENTS:
            self._held[name] = matrix = matrix.clone()
        return matrix

    def vector(self, name: str) -> NoReturn:
        """Not of an expert."""
        raise AssertionError(name)

    def expert_groups(self, layer: int) -> NoReturn:
        """Not of an expert."""
        raise AssertionError(layer)


class _RoutedExperts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gates: Tensor, work: _Work, *factors: Tensor) -> Tensor:
        ctx.work = work
        ctx.save_for_backward(x, gates, *factors)
        total = torch.zeros_like(x)
        if work.operands.value_unused:
            return total
        for number, expert, places in work.experts(again=False):
            inputs = _inputs(x, gates, factors, work, number, places)
            total.index_add_(0, places // work.n_used, work.compute(expert, *inputs))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), work = grads, ctx.work
        x, gates, *factors = ctx.saved_tensors
        x_grad, gates_grad, *factor_grads = (torch.zeros_like(tensor) for tensor in ctx.saved_tensors)
        for number, expert, places in work.experts(again=True):
            tokens = places // work.n_used
            inputs = [t.requires_grad_() for t in _inputs(x, gates, factors, work, number, places)]
            with torch.enable_grad():
                y = work.compute(expert, *inputs)
            found = torch.autograd.grad(y, inputs, grad[tokens])
            x_grad.index_add_(0, tokens, found[0])
            gates_grad.view(-1)[places] = found[1]
            for whole, part in zip(factor_grads, found[2:], strict=True):
                whole[number] += part
        return x_grad, gates_grad, None, *factor_grads


def _inputs(
    x: Tensor, gates: Tensor, factors: Sequence[Tensor], work: _Work, number: int, places: Tensor
) -> list[Tensor]:
    """The rows of x and the gates at these places, and this expert's factors, all cut from any graph."""
    tokens = places // work.n_used
    return [x[tokens], gates.flatten()[places], *(factor[number].detach() for factor in factors)]
