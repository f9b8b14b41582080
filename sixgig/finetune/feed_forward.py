"""The feed-forward part of a dense layer: a gated linear unit (Shazeer 2020, arXiv 2002.05202)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor
from torch.nn import functional as F

from sixgig.families.terms.blocks import Activation
from sixgig.families.terms.names import FEED_FORWARD, GatedUnit, in_layer
from sixgig.finetune.blueprint import Blueprint
from sixgig.finetune.claims import Claims
from sixgig.finetune.norms import norm_after, rms_norm
from sixgig.finetune.operands import Operands

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    Activation.SILU: F.silu,
    Activation.GELU: partial(F.gelu, approximate="tanh"),
}


@dataclass
class FeedForward:
    """A net.Block. norm, after: the norms before it and behind it, "" without one.

    gate_in_up: gate and up are one matrix, the gate first.
    """

    layer: int
    dense: tuple[str, ...]
    norm: str
    after: str
    activation: Activation
    gate_in_up: bool
    epsilon: float
    routed: tuple[str, ...] = ()
    joined: bool = False

    def forward(self, x: Tensor, documents: Sequence[int], operands: Operands) -> Tensor:
        """As net.Block."""
        normed = rms_norm(x, operands.weights.vector(self.norm), self.epsilon)
        names = swiglu_names(self.layer)
        if self.gate_in_up:
            gate, up = operands.linear(names[1], normed).chunk(2, -1)
        else:
            gate, up = (operands.linear(name, normed) for name in names[:2])
        y = operands.linear(names[2], ACTIVATIONS[self.activation](gate) * up)
        return x + norm_after(y, self.after, operands.weights, self.epsilon)


def swiglu(x: Tensor, operands: Operands, gate: str, up: str, down: str) -> Tensor:
    """(tokens, n_embd) of x (tokens, n_embd); names as Operands.linear takes them."""
    return operands.linear(down, F.silu(operands.linear(gate, x)) * operands.linear(up, x))


def swiglu_names(layer: int, unit: GatedUnit = FEED_FORWARD) -> tuple[str, str, str]:
    """Gate, up and down of a layer, without ".weight"; unit: ROUTED or SHARED for experts."""
    return in_layer(layer, unit.gate), in_layer(layer, unit.up), in_layer(layer, unit.down)


def feed_forward(plan: Blueprint, layer: int) -> FeedForward:
    """The block of a dense layer; ModelFileError where a tensor is missing or does not fit."""
    facts, n_embd, claims = plan.facts, plan.model.n_embd, plan.claims
    norm, after = plan.norm_before_feed_forward(layer), plan.norm_after(layer, 1)
    gate, up, down = swiglu_names(layer)
    if facts.gate_in_up:
        hidden = claims.shape(f"{down}.weight")[0]
        matrices = (
            *claims.linear(up, n_embd, 2 * hidden, facts.biases),
            *claims.linear(down, hidden, n_embd, facts.biases),
        )
    else:
        matrices = claim_swiglu(n_embd, (gate, up, down), claims, facts.biases)
    return FeedForward(
        layer=layer,
        dense=(norm, *matrices, *filter(None, [after])),
        norm=norm,
        after=after,
        activation=facts.activation,
        gate_in_up=facts.gate_in_up,
        epsilon=plan.epsilon,
    )


def claim_swiglu(n_embd: int, names: Sequence[str], claims: Claims, biased: bool = False) -> tuple[str, ...]:
    """What `swiglu` reads; the hidden width is what the file has."""
    gate, up, down = names
    hidden = claims.shape(f"{down}.weight")[0]
    return (
        *claims.linear(gate, n_embd, hidden, biased),
        *claims.linear(up, n_embd, hidden, biased),
        *claims.linear(down, hidden, n_embd, biased),
    )
