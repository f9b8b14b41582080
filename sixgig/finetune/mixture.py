"""The feed-forward part of a layer with experts: router, routed experts in groups, a shared expert.

Source: Shazeer et al. 2017 (arXiv 1701.06538); softmax over all experts, the top k renormalised where the
family declares it. Gradients go through the gates, to a router's factors too where a caller adapts it;
`sixgig tune` never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sixgig.families.terms.names import ROUTED, ROUTER, SHARED, SHARED_GATE, in_layer, weight_in
from sixgig.finetune.blueprint import Blueprint
from sixgig.finetune.experts import routed_experts
from sixgig.finetune.feed_forward import claim_unit, gated_unit
from sixgig.finetune.norms import Addition, rms_norm
from sixgig.finetune.operands import Operands

LEAST_SUM = 2.0**-14  # of a token's gates, as in llama.cpp: the smallest normal float16


@dataclass
class Mixture:
    """A net.Block. norm: name of its norm. routed: gate, up and down, or gate above up in one, and down.

    shared: a shared expert adds to the routed ones, gated: through a gate; vector_gate: that is a vector in
    the file, not a matrix of one row.
    """

    layer: int
    dense: tuple[str, ...]
    routed: tuple[str, ...]
    norm: str
    adds: Addition
    n_experts: int
    n_used: int
    epsilon: float
    gates_sum_to_one: bool
    shared: bool
    gated: bool
    vector_gate: bool
    joined: bool = True

    def forward(self, x: Tensor, documents: Sequence[int], operands: Operands) -> Tensor:
        """As net.Block."""
        normed = rms_norm(x, operands.weights.vector(self.norm), self.epsilon)
        gates, chosen = self._route(normed, operands)
        names = tuple(name.removesuffix(".weight") for name in self.routed)
        y = routed_experts(normed, gates, chosen, self.n_experts, self.layer, names, operands)
        if self.shared:
            y = y + self._shared(normed, operands)
        return self.adds.to(x, y, operands.weights, self.epsilon)

    def _route(self, x: Tensor, operands: Operands) -> tuple[Tensor, Tensor]:
        """Gates and numbers of the chosen experts, (tokens, n_used); computed in x's type."""
        # A copy, small enough for the graph to hold.
        name = in_layer(self.layer, ROUTER)
        router = operands.weights.matrix(f"{name}.weight").to(x.dtype, copy=True)
        shares = torch.softmax(operands.adapted(name, x, x @ router.T), -1)
        chosen = shares.detach().topk(self.n_used).indices
        gates = shares.gather(1, chosen)
        if self.gates_sum_to_one:
            gates = gates / gates.sum(1, keepdim=True).clamp(min=LEAST_SUM)
        return gates, chosen

    def _shared(self, x: Tensor, operands: Operands) -> Tensor:
        y = gated_unit(x, operands, SHARED.names(self.layer))
        return y * torch.sigmoid(self._openness(x, operands)) if self.gated else y

    def _openness(self, x: Tensor, operands: Operands) -> Tensor:
        """What the shared expert's gate says before the sigmoid, (tokens, 1)."""
        name = in_layer(self.layer, SHARED_GATE)
        if self.vector_gate:
            return (x @ operands.weights.vector(f"{name}.weight").to(x.dtype)).unsqueeze(1)
        return operands.linear(name, x)


def mixture(plan: Blueprint, layer: int) -> Mixture:
    """The block of a layer with experts; ModelFileError where a tensor is missing or does not fit."""
    model, claims, gated = plan.model, plan.claims, plan.facts.gated_shared_expert
    shared = gated or (plan.facts.shared_expert and weight_in(layer, SHARED.down) in claims)
    norm, adds = plan.norm_before_feed_forward(layer), plan.addition(layer, 1)
    dense = [norm, *claims.linear(in_layer(layer, ROUTER), model.n_embd, model.n_experts)]
    gate = weight_in(layer, SHARED_GATE)
    vector_gate = gated and len(claims.shape(gate)) == 1
    if gated:
        dense.append(claims.need(gate, model.n_embd) if vector_gate else claims.need(gate, model.n_embd, 1))
    if shared:
        dense += claim_unit(model.n_embd, SHARED.names(layer), claims)
    return Mixture(
        layer=layer,
        dense=(*dense, *filter(None, [adds.norm])),
        routed=_stacks(plan, layer),
        norm=norm,
        adds=adds,
        n_experts=model.n_experts,
        n_used=model.n_experts_used,
        epsilon=plan.epsilon,
        gates_sum_to_one=plan.facts.gates_sum_to_one,
        shared=shared,
        gated=gated,
        vector_gate=vector_gate,
    )


def _stacks(plan: Blueprint, layer: int) -> tuple[str, ...]:
    """Gate, up and down of all experts, or gate above up in one, and down."""
    n_embd, n_experts, claims = plan.model.n_embd, plan.model.n_experts, plan.claims
    fused = plan.facts.fused_experts and weight_in(layer, ROUTED.gate_up) in claims
    *inner, down = (f"{name}.weight" for name in ROUTED.names(layer, fused))
    hidden = claims.shape(down)[0]
    width = 2 * hidden // len(inner)
    found = [claims.need(name, n_embd, width, n_experts) for name in inner]
    return (*found, claims.need(down, hidden, n_embd, n_experts))
