"""The feed-forward part of a dense layer: a gated linear unit (Shazeer 2020, arXiv 2002.05202)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor
from torch.nn import functional as F

from sixgig.families.terms.blocks import Activation
from sixgig.families.terms.names import FEED_FORWARD
from sixgig.finetune.blueprint import Blueprint
from sixgig.finetune.claims import Claims
from sixgig.finetune.norms import Addition, rms_norm
from sixgig.finetune.operands import Operands

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    Activation.SILU: F.silu,
    Activation.GELU: partial(F.gelu, approximate="tanh"),
}


@dataclass
class FeedForward:
    """A net.Block. norm: the name of the one before it. names: of `gated_unit`."""

    layer: int
    dense: tuple[str, ...]
    norm: str
    adds: Addition
    names: tuple[str, ...]
    activation: Activation
    epsilon: float
    routed: tuple[str, ...] = ()
    joined: bool = False

    def forward(self, x: Tensor, documents: Sequence[int], operands: Operands) -> Tensor:
        """As net.Block."""
        normed = rms_norm(x, operands.weights.vector(self.norm), self.epsilon)
        y = gated_unit(normed, operands, self.names, self.activation)
        return self.adds.to(x, y, operands.weights, self.epsilon)


def gated_unit(
    x: Tensor, operands: Operands, names: Sequence[str], activation: Activation = Activation.SILU
) -> Tensor:
    """(tokens, n_embd) of x (tokens, n_embd).

    names, as Operands.linear takes them: gate, up and down, or gate above up in one, and down.
    """
    *inner, down = names
    products = [operands.linear(name, x) for name in inner]
    gate, up = products if len(products) == 2 else products[0].chunk(2, -1)
    return operands.linear(down, ACTIVATIONS[activation](gate) * up)


def feed_forward(plan: Blueprint, layer: int) -> FeedForward:
    """The block of a dense layer; ModelFileError where a tensor is missing or does not fit."""
    facts, n_embd, claims = plan.facts, plan.model.n_embd, plan.claims
    norm, adds = plan.norm_before_feed_forward(layer), plan.addition(layer, 1)
    names = FEED_FORWARD.names(layer)[1 if facts.gate_in_up else 0 :]
    matrices = claim_unit(n_embd, names, claims, facts.biases)
    return FeedForward(
        layer=layer,
        dense=(norm, *matrices, *filter(None, [adds.norm])),
        norm=norm,
        adds=adds,
        names=names,
        activation=facts.activation,
        epsilon=plan.epsilon,
    )


def claim_unit(n_embd: int, names: Sequence[str], claims: Claims, biased: bool = False) -> tuple[str, ...]:
    """What `gated_unit` reads of these names; the hidden width is what the file has."""
    *inner, down = names
    hidden = claims.shape(f"{down}.weight")[0]
    width = 2 * hidden // len(inner)
    found = [claim for name in inner for claim in claims.linear(name, n_embd, width, biased)]
    return (*found, *claims.linear(down, hidden, n_embd, biased))
