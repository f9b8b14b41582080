"""What a layer's output loses when one expert goes and the router makes do with the next best.

Where it can be computed it ranks experts better than their saliency: it knows how often an expert is needed,
how much it adds and how well the others stand in for it. For inputs x of the router, with y the layer's
routed output and y_e what comes out when e cannot be chosen, the damage of e is the sum of |y - y_e|^2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sixgig.pruning.expert_formula import expert_outputs, softmax_gates
from sixgig.pruning.expert_tensors import ExpertLayer
from sixgig.weights.stored import Floats, Weights

Doubles = NDArray[np.float64]


def expert_damage(weights: Weights, layer: ExpertLayer, inputs: Floats, n_used: int) -> Doubles:
    """Damage of each expert over inputs [n, n_embd], [experts]; for families with the formula only.

    Memory: n (n_used + 1) n_embd floats, and one expert's weights at a time.
    """
    logits = inputs @ weights.rows(layer.router.name, 0, layer.n_experts).T
    best = np.argsort(-logits, axis=1, kind="stable")[:, : n_used + 1]
    outputs = np.zeros((*best.shape, inputs.shape[1]), np.float32)
    for expert in range(layer.n_experts):
        tokens, places = np.nonzero(best == expert)
        if len(tokens):
            outputs[tokens, places] = expert_outputs(weights, layer, expert, inputs[tokens])
    damage = np.zeros(layer.n_experts)
    for place, lost in enumerate(losses(np.take_along_axis(logits, best, axis=1), outputs, n_used)):
        np.add.at(damage, best[:, place], lost)
    return damage


def losses(logits: Floats, outputs: Floats, n_used: int) -> list[Doubles]:
    """For each of the chosen, what leaving it out changes: |y - y_e|^2, [n].

    logits [n, c] of the best experts, descending, and their outputs [n, c, n_embd]; the first `n_used` are
    chosen, and where there is one more it steps in.
    """
    whole = softmax_gates(logits, n_used)
    found = []
    for place in range(min(n_used, logits.shape[1])):
        without = logits.copy()
        without[:, place] = -np.inf
        change = whole - softmax_gates(without, min(n_used, logits.shape[1] - 1))
        moved = np.einsum("nc,nce->ne", change, outputs)
        found.append(np.square(moved, dtype=np.float64).sum(axis=1))
    return found
