"""A layer's routed experts in numpy, for plain ones under a softmax renormalised over the chosen."""

from __future__ import annotations

import numpy as np

from sixgig.errors import UsageError
from sixgig.pruning.expert_tensors import ExpertLayer, ExpertShapes
from sixgig.pruning.structure import expert_cuts, gates_are_softmax
from sixgig.weights.stored import Floats, Weights

_EXP_LIMIT = 80.0


def has_formula(weights: Weights) -> bool:
    """Whether the family's experts and gates are those of this file."""
    declared = expert_cuts(weights.model)
    known = declared.plain and declared.renormalises is True and gates_are_softmax(weights.model)
    return known and ExpertShapes(weights).n_groups == 1


def require_formula(weights: Weights) -> None:
    """UsageError unless they are."""
    if not has_formula(weights):
        raise UsageError(
            f"routers of {weights.model.architecture} are not refitted",
            "their gates are no softmax over the chosen, or their experts no plain SwiGLU",
            "drop experts without recalibration",
        )


def expert_outputs(weights: Weights, layer: ExpertLayer, expert: int, inputs: Floats) -> Floats:
    """What one expert gives for inputs [n, n_embd]: down(silu(gate(x)) * up(x)), float32 [n, n_embd]."""
    inner = np.concatenate(
        [inputs @ _matrix(weights, layer, name, expert).T for name in layer.gate_then_up], axis=1
    )
    gate, up = np.split(inner, 2, axis=1)
    hidden = gate / (1.0 + np.exp(-np.clip(gate, -_EXP_LIMIT, _EXP_LIMIT))) * up
    return np.asarray(hidden @ _matrix(weights, layer, layer.down.name, expert).T, np.float32)


def softmax_gates(logits: Floats, n_used: int) -> Floats:
    """Gates of all experts, [n, experts], 0 for those not chosen."""
    chosen = np.argsort(-logits, axis=1, kind="stable")[:, :n_used]
    among = np.take_along_axis(logits, chosen, axis=1)
    weights = np.exp(among - among.max(axis=1, keepdims=True))
    gates = np.zeros_like(logits)
    np.put_along_axis(gates, chosen, weights / weights.sum(axis=1, keepdims=True), axis=1)
    return gates


def _matrix(weights: Weights, layer: ExpertLayer, name: str, expert: int) -> Floats:
    rows = next(info.rows_per_matrix for info in layer.routed if info.name == name)
    return weights.rows(name, expert * rows, (expert + 1) * rows)
