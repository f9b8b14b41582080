"""Which experts stay, and the cut that takes the others out of every tensor that knows them.

Criteria: REAP's saliency (Lasby et al., arXiv 2510.13999), the mean over the tokens routed to an expert of
gate times output norm; or the damage that damage.py measures. Protected whatever they say: super-experts (Su
et al., arXiv 2507.23279), whose rare huge outputs make the massive activations that attention sinks need; a
mean over tokens does not see them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from sixgig.calibration.calibration import Calibration
from sixgig.pruning.damage import expert_damage
from sixgig.pruning.expert_formula import has_formula
from sixgig.pruning.expert_limits import count_metadata, most_used, require_count
from sixgig.pruning.expert_tensors import ExpertLayer, ExpertShapes, source_experts
from sixgig.pruning.structure import gates_shift
from sixgig.weights.cut import Cut, Indices, TensorCut
from sixgig.weights.stored import Weights

Scores = NDArray[np.float64]
_QUANTILE = 0.995
_OF_LARGEST = 0.1
_OF_MEDIAN = 10.0


class Criterion(StrEnum):
    """What ranks a layer's experts. DAMAGE goes back to SALIENCY where it cannot be computed."""

    SALIENCY = "saliency"
    DAMAGE = "damage"


def drop_experts(
    weights: Weights, calibration: Calibration, keep: int, criterion: Criterion = Criterion.DAMAGE
) -> Cut:
    """The cut that leaves the best `keep` experts of every layer, super-experts among them.

    Where experts come in groups each group keeps as many. DAMAGE needs samples of the router's inputs and a
    family with the formula. Layers whose outputs were not seen (multi-token prediction; families that weight
    the experts' inputs) go by how many tokens each expert met; where none did, the first stay. UsageError
    when llama.cpp loads no such number.
    """
    shapes = ExpertShapes(weights)
    require_count(shapes, keep)
    guarded = _guarded(calibration)
    kept = dict[int, Indices]()
    for layer in shapes.layers:
        left = source_experts(weights, layer.down.name)
        scores = expert_scores(shapes, calibration, layer, criterion)
        if layer.number in guarded:
            scores = protected(scores, guarded[layer.number][left])
        kept[layer.number] = best_experts(scores, keep, shapes.n_groups)
    shifted = "; the gates of those left grow" if gates_shift(weights.model) else ""
    return keep_experts(weights, kept, f"{keep} of {shapes.n_experts} experts, by {criterion}{shifted}")


def expert_scores(
    shapes: ExpertShapes, calibration: Calibration, layer: ExpertLayer, criterion: Criterion
) -> Scores:
    """What ranks the experts that a layer has left; unprotected."""
    weights, left = shapes.weights, source_experts(shapes.weights, layer.down.name)
    if criterion is Criterion.DAMAGE and has_formula(weights):
        inputs = calibration.samples(layer.router.name)
        if len(inputs):
            return expert_damage(weights, layer, inputs, most_used(shapes))
    if layer.number in calibration.experts:
        return calibration.experts[layer.number].saliency[left].astype(np.float64)
    met = calibration.moments(layer.down.name)
    return np.zeros(len(left)) if met is None else met.counts[left].astype(np.float64)


def _guarded(calibration: Calibration) -> dict[int, NDArray[np.bool_]]:
    """Super-experts by layer, of those whose outputs were seen."""
    numbers = sorted(calibration.experts)
    peaks = [calibration.experts[number].peaks.astype(np.float64) for number in numbers]
    return dict(zip(numbers, super_experts(peaks), strict=True))


def super_experts(peaks: Sequence[Scores]) -> list[NDArray[np.bool_]]:
    """For each layer, which experts are super-experts, by the largest norm of what each added to the stream.

    Above the 99.5% quantile of all experts of all layers and above a tenth of the largest, as in the paper
    (which takes the largest element before the gate); and, so that a model without outliers has none, above
    ten times the median.
    """
    together = np.concatenate(peaks) if peaks else np.zeros(1)
    least = max(
        float(np.quantile(together, _QUANTILE)),
        _OF_LARGEST * float(together.max()),
        _OF_MEDIAN * float(np.median(together)),
    )
    return [np.asarray(layer > least) for layer in peaks]


def best_experts(scores: Scores, keep: int, n_groups: int = 1) -> Indices:
    """The `keep` experts with the highest scores, ascending; as many of each of `n_groups` equal groups.

    Of equals the first stay.
    """
    groups = scores.reshape(n_groups, -1)
    best = np.sort(np.argsort(-groups, axis=1, kind="stable")[:, : keep // n_groups], axis=1)
    return (best + np.arange(n_groups)[:, None] * groups.shape[1]).reshape(-1).astype(np.int64)


def protected(scores: Scores, guarded: NDArray[np.bool_]) -> Scores:
    """Scores in which the guarded experts come before all others."""
    return np.where(guarded, scores + np.abs(scores).max(initial=0.0) + 1.0, scores)


def keep_experts(weights: Weights, kept: Mapping[int, Indices], note: str) -> Cut:
    """The cut that leaves the experts `kept` of each layer: as many everywhere, ascending, none twice.

    UsageError when llama.cpp loads no such number.
    """
    shapes = ExpertShapes(weights)
    keep = len(next(iter(kept.values())))
    assert all(len(indices) == keep for indices in kept.values()), "as many experts in every layer"
    require_count(shapes, keep)
    tensors: dict[str, TensorCut] = {}
    for layer in shapes.layers:
        tensors |= _without(layer, kept[layer.number])
    return Cut(tensors, metadata=count_metadata(shapes, keep), note=note)


def _without(layer: ExpertLayer, kept: Indices) -> dict[str, TensorCut]:
    """Cuts of everything in a layer that has a place for each expert."""
    cuts = {info.name: TensorCut(experts=kept) for info in layer.routed}
    for info in (*layer.attached, *layer.steering, layer.router):
        flat = len(info.shape) == 1
        cuts[info.name] = TensorCut(columns=kept) if flat else TensorCut(rows=kept)
    return cuts
