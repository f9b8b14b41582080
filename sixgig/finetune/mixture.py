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
from sixgig.finetune.claims import Claims
from sixgig.finetune.experts import routed_experts
from sixgig.finetune.feed_forward import claim_swiglu, swiglu, swiglu_names
from sixgig.finetune.norms import rms_norm
from sixgig.finetune.operands import Operands
from sixgig.modelfile import ModelFile

LEAST_SUM = 2.0**-14  # of a token's gates, as in llama.cpp: the smallest normal float16


@dataclass
class Mixture:
    """A net.Block. norm: name of its norm.

    shared: a gated shared expert adds to the routed ones; vector_gate: its gate is a vector in the file, not
    a matrix of one row.
    """

    layer: int
    dense: tuple[str, ...]
    routed: tuple[str, ...]
    norm: str
    n_experts: int
    n_used: int
    epsilon: float
    gates_sum_to_one: bool
    shared: bool
    vector_gate: bool
    joined: bool = True

    def forward(self, x: Tensor, documents: Sequence[int], operands: Operands) -> Tensor:
        """As net.Block."""
        normed = rms_norm(x, operands.weights.vector(self.norm), self.epsilon)
        gates, chosen = self._route(normed, operands)
        y = x + routed_experts(normed, gates, chosen, self.n_experts, self.layer, operands)
        return y + self._shared(normed, operands) if self.shared else y

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
        shared = swiglu(x, operands, *swiglu_names(self.layer, SHARED))
        return shared * torch.sigmoid(self._openness(x, operands))

    def _openness(self, x: Tensor, operands: Operands) -> Tensor:
        """What the shared expert's gate says before the sigmoid, (tokens, 1)."""
        name = in_layer(self.layer, SHARED_GATE)
        if self.vector_gate:
            return (x @ operands.weights.vector(f"{name}.weight").to(x.dtype)).unsqueeze(1)
        return operands.linear(name, x)


def mixture(plan: Blueprint, layer: int) -> Mixture:
    """The block of a layer with experts; ModelFileError where a tensor is missing or does not fit."""
    model, claims, shared = plan.model, plan.claims, plan.facts.gated_shared_expert
    norm = plan.norm_before_feed_forward(layer)
    dense = [norm, *claims.linear(in_layer(layer, ROUTER), model.n_embd, model.n_experts)]
    gate = weight_in(layer, SHARED_GATE)
    vector_gate = shared and len(claims.shape(gate)) == 1
    if shared:
        dense.append(claims.need(gate, model.n_embd) if vector_gate else claims.need(gate, model.n_embd, 1))
        dense += claim_swiglu(model.n_embd, swiglu_names(layer, SHARED), claims)
    return Mixture(
        layer=layer,
        dense=tuple(dense),
        routed=_stacks(model, layer, claims),
        norm=norm,
        n_experts=model.n_experts,
        n_used=model.n_experts_used,
        epsilon=plan.epsilon,
        gates_sum_to_one=plan.facts.gates_sum_to_one,
        shared=shared,
        vector_gate=vector_gate,
    )


def _stacks(model: ModelFile, layer: int, claims: Claims) -> tuple[str, ...]:
    gate, up, down = (f"{name}.weight" for name in swiglu_names(layer, ROUTED))
    hidden = claims.shape(down)[0]
    inner = (model.n_embd, hidden, model.n_experts)
    return (
        claims.need(gate, *inner),
        claims.need(up, *inner),
        claims.need(down, hidden, model.n_embd, model.n_experts),
    )
