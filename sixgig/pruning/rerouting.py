"""Routers refitted after experts went: the experts that stay are chosen and weighted to do what all did.

For sampled router inputs x the layer's routed output y with all experts is the target; what the others give
is sum_i a_i f_i(x) over the experts chosen, a the softmax of their logits. Each round takes for every sample
the damped Gauss-Newton step of the logits, fits one linear map of x to all these steps by ridge regression,
and goes along it as far as samples that were held out gain; a round that gains nothing there is the last. So
the router never gets worse on what it was not fitted to. Experts enter through inner products only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sixgig.calibration.calibration import Calibration
from sixgig.pruning.expert_formula import expert_outputs, require_formula, softmax_gates
from sixgig.pruning.expert_limits import most_used
from sixgig.pruning.expert_tensors import ExpertLayer, ExpertShapes
from sixgig.weights.cut import Cut, Indices
from sixgig.weights.stored import Floats, Weights

Doubles = NDArray[np.float64]
ROUNDS, DAMPING, RIDGE = 8, 0.1, 1.0
_STEPS = (1.0, 0.5, 0.25, 0.1)
_HELD_OUT = 4  # every fourth sample


@dataclass(frozen=True)
class Trial:
    """What a layer's refit needs of its samples, [n, ...], candidates being those likely to be chosen.

    inputs [n, n_embd]; logits [n, kept]; candidates [n, c], positions among the kept; gram [n, c, c], inner
    products of their outputs; cross [n, c], with the target; power [n], the target's own; n_used: how many
    of the candidates are chosen.
    """

    inputs: Doubles
    logits: Doubles
    candidates: Indices
    gram: Doubles
    cross: Doubles
    power: Doubles
    n_used: int

    def part(self, chosen: NDArray[np.bool_]) -> Trial:
        """The samples chosen."""
        return Trial(
            self.inputs[chosen],
            self.logits[chosen],
            self.candidates[chosen],
            self.gram[chosen],
            self.cross[chosen],
            self.power[chosen],
            self.n_used,
        )

    def gates(self, logits: Doubles) -> Doubles:
        """Gates of the candidates, [n, c], 0 for those not chosen."""
        among = np.take_along_axis(logits, self.candidates, axis=1)
        least = -np.sort(-among, axis=1)[:, self.n_used - 1 : self.n_used]
        weights = np.where(among >= least, np.exp(among - among.max(axis=1, keepdims=True)), 0.0)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def error(self, logits: Doubles) -> float:
        """Squared error of the outputs over the targets' power."""
        gates = self.gates(logits)
        mixed = np.einsum("nc,ncd,nd->n", gates, self.gram, gates)
        squares = self.power - 2.0 * (gates * self.cross).sum(axis=1) + mixed
        return float(squares.sum() / max(self.power.sum(), 1e-30))

    def steps(self, logits: Doubles, damping: float) -> Doubles:
        """Each sample's damped Gauss-Newton step of all logits, [n, kept]; 0 for experts not chosen."""
        gates = self.gates(logits)
        mixed = np.einsum("ncd,nd->nc", self.gram, gates)
        total = (gates * mixed).sum(axis=1)
        pulls = self.cross - (gates * self.cross).sum(axis=1, keepdims=True) - mixed + total[:, None]
        inner = self.gram - mixed[:, :, None] - mixed[:, None, :] + total[:, None, None]
        normal = gates[:, :, None] * inner * gates[:, None, :]
        floor = damping * np.maximum(self.power, 1e-30)[:, None, None] * np.eye(gates.shape[1])
        solved = np.linalg.solve(normal + floor, (gates * pulls)[:, :, None])[:, :, 0]
        steps = np.zeros_like(logits)
        np.put_along_axis(steps, self.candidates, solved, axis=1)
        return steps


def refit(trial: Trial, rounds: int = ROUNDS, damping: float = DAMPING, ridge: float = RIDGE) -> Doubles:
    """What to add to the router's rows, [kept, n_embd]; zeros where nothing helps the samples held out."""
    held_out = np.arange(len(trial.inputs)) % _HELD_OUT == 0
    fitted, judged = trial.part(~held_out), trial.part(held_out)
    inverse = _regressor(fitted.inputs, ridge)
    change = np.zeros((trial.logits.shape[1], trial.inputs.shape[1]))
    best = judged.error(judged.logits)
    for _ in range(rounds):
        step = (inverse @ fitted.steps(fitted.logits + fitted.inputs @ change.T, damping)).T
        tried = [(judged.error(judged.logits + judged.inputs @ (change + s * step).T), s) for s in _STEPS]
        error, size = min(tried)
        if error >= best:
            break
        best, change = error, change + size * step
    return change


def recalibrate_routers(weights: Weights, calibration: Calibration, cut: Cut) -> Cut:
    """`cut`, which takes experts out of `weights`, with the routers that are left refitted.

    Needs samples of the routers' inputs; layers without any keep their rows. Covers families whose gates are
    a softmax renormalised over the chosen and whose experts are plain SwiGLU; UsageError for others. Memory:
    the outputs of a few candidates for every sample, one expert's weights at a time.
    """
    require_formula(weights)
    shapes = ExpertShapes(weights)
    routers: dict[str, Floats] = {}
    for layer in shapes.layers:
        kept = cut.tensors[layer.router.name].rows
        inputs = calibration.samples(layer.router.name)
        if kept is None or len(inputs) < 2 * _HELD_OUT:
            continue
        rows = weights.rows(layer.router.name, 0, layer.n_experts)[kept]
        trial = make_trial(weights, layer, kept, inputs, most_used(shapes))
        routers[layer.router.name] = (rows + refit(trial)).astype(np.float32)
    return replace(cut, replaced={**cut.replaced, **routers}, note=f"{cut.note}; routers refitted")


def make_trial(weights: Weights, layer: ExpertLayer, kept: Indices, inputs: Floats, n_used: int) -> Trial:
    """The samples of a layer, all its experts' outputs reduced to inner products."""
    logits = inputs @ weights.rows(layer.router.name, 0, layer.n_experts).T
    left = np.asarray(logits[:, kept], np.float64)
    used = min(n_used, len(kept))
    candidates = np.argsort(-left, axis=1, kind="stable")[:, : 2 * used].astype(np.int64)
    target = np.zeros_like(inputs)
    outputs = np.zeros((len(inputs), candidates.shape[1], inputs.shape[1]), np.float32)
    gates = softmax_gates(logits, n_used)
    position = np.full(layer.n_experts, -1)
    position[kept] = np.arange(len(kept))
    for expert in range(layer.n_experts):
        at = candidates == position[expert]
        needed = (gates[:, expert] > 0) | at.any(axis=1)
        if not needed.any():
            continue
        found = expert_outputs(weights, layer, expert, inputs[needed])
        target[needed] += gates[needed, expert, None] * found
        outputs[at] = found[at[needed].any(axis=1)]
    return _reduced(inputs, left, candidates, outputs, target, used)


def _reduced(
    inputs: Floats, logits: Doubles, candidates: Indices, outputs: Floats, target: Floats, n_used: int
) -> Trial:
    gram = np.matmul(outputs, outputs.transpose(0, 2, 1)).astype(np.float64)
    cross = np.einsum("ncd,nd->nc", outputs, target).astype(np.float64)
    power = np.square(target, dtype=np.float64).sum(axis=1)
    return Trial(inputs.astype(np.float64), logits, candidates, gram, cross, power, n_used)


def _regressor(inputs: Doubles, ridge: float) -> Doubles:
    """The matrix that gives ridge regression's coefficients, [n_embd, n]."""
    square = inputs.T @ inputs
    square += np.eye(len(square)) * (ridge * np.trace(square) / len(square) + 1e-12)
    return np.asarray(np.linalg.solve(square, inputs.T))
