"""Structured pruning of dense models by fluctuation (FLAP, An et al., AAAI 2024), with what improves on it.

As in the paper, an input that hardly varies costs little, since its mean can be made up for by a bias, and
heads and channels of all layers stand in one ranking where the file format can carry layers that differ.
Other than in the paper, scores are errors in the residual stream as they are (the paper standardises within
layers), that of a group of heads takes their correlations in, units are ranked by error for each weight they
hold, and inputs that stay take over what they tell about those that go, by least squares. Where layers must
be alike, the split between heads and channels is chosen instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np

from sixgig.calibration.moments import Moments
from sixgig.errors import UsageError
from sixgig.families import DenseCuts, Freedom, family
from sixgig.families.terms.names import bias_of
from sixgig.modelfile import ModelFile
from sixgig.pruning.dense_metadata import metadata_of
from sixgig.pruning.dense_tensors import Part, attention_parts, feed_forward_parts, places
from sixgig.pruning.flap_choice import (
    Doubles,
    Scored,
    choose_adaptive,
    choose_uniform,
    n_weights,
    step_of,
)
from sixgig.pruning.folding import RIDGE, fold, fold_centred
from sixgig.pruning.structure import dense_cuts
from sixgig.weights.cut import Cut, Indices, TensorCut
from sixgig.weights.stored import Floats, WeightInfo, Weights

_ROWS = 1024  # of an output matrix read together


class Statistics(Protocol):
    """What is asked of a Calibration."""

    def moments(self, name: str) -> Moments | None:
        """Of a weight's inputs."""

    def samples(self, name: str, matrix: int = 0) -> Floats:
        """Some of its inputs, [n, n_in]."""


class Form(StrEnum):
    """ADAPTIVE: every layer has its own heads and width. UNIFORM: as many in each."""

    ADAPTIVE = "adaptive"
    UNIFORM = "uniform"


class Compensation(StrEnum):
    """NONE. MEAN: a bias with what the removed inputs added on average, as in the paper. REGRESSION: also the
    remaining weights refitted; without a bias where the architecture has none, the mean folded into them."""

    NONE = "none"
    MEAN = "mean"
    REGRESSION = "regression"


@dataclass(frozen=True)
class Target:
    """How to prune. fraction: of attention's and feed-forward's weights. form: None for the freest there is.

    multiple: kept inputs of each matrix are a multiple of it (256 for K- and IQ-types, 1 for BF16). ridge: as
    in folding. biased: write biases where the architecture has room for them.
    """

    fraction: float
    form: Form | None = None
    compensation: Compensation = Compensation.REGRESSION
    multiple: int = 1
    ridge: float = RIDGE
    biased: bool = True


def flap(weights: Weights, statistics: Statistics, target: Target, work: Path) -> Cut:
    """The cut that removes the heads and channels that matter least, to within one step of the fraction.

    weights: as they were calibrated. work: folder for foldings, which the cut names; one made before from the
    same is taken from there. Memory: a matrix, its samples and its folding at a time. Raises UsageError where
    the architecture carries no such form or compensation, or less can be removed; OSError.
    """
    carrier, declared = _carrier(weights.model, target)
    heads = attention_parts(weights)
    channels = feed_forward_parts(weights)
    scored = [_scored(weights, statistics, part, target) for part in (*heads, *channels)]
    kept = _choose(scored, len(heads), declared, target)
    cut = Cut(metadata=metadata_of(weights.model, carrier, [*heads, *channels], kept))
    for part, units in zip((*heads, *channels), kept, strict=True):
        if len(units) < part.n_units:
            cut = _with(cut, _cut_part(weights, statistics, part, units, declared.output_bias, target, work))
    return replace(cut, note=f"{target.fraction:.0%} of attention and feed-forward, {target.compensation}")


def channel_losses(matrix: Floats, fluctuation: Floats) -> Doubles:
    """FLAP's score of each input, [n_in]: its variance times the sum of squares of its column [n_out, n_in].

    That is the mean squared error when it becomes its mean. Where it becomes 0, `fluctuation` is its mean
    square instead of its variance.
    """
    losses: Doubles = np.square(matrix, dtype=np.float64).sum(axis=0) * fluctuation
    return losses


def group_losses(matrix: Floats, fluctuation: Floats, deviations: Floats, n_groups: int) -> Doubles:
    """The same for groups of inputs that go together, [n_groups], with what is correlated inside a group.

    deviations: sampled inputs less what takes their place, [n, n_in]; without any, inputs count as unrelated.
    """
    if not len(deviations):
        losses: Doubles = channel_losses(matrix, fluctuation).reshape(n_groups, -1).sum(axis=1)
        return losses
    inputs = np.split(deviations, n_groups, axis=1)
    columns = np.split(matrix, n_groups, axis=1)
    errors = (x @ w.T for x, w in zip(inputs, columns, strict=True))
    return np.array([np.square(error, dtype=np.float64).sum() / len(error) for error in errors])


def _carrier(model: ModelFile, target: Target) -> tuple[str, DenseCuts]:
    """Under which name the file is written, and what that may lose; UsageError where less than is asked."""
    own, name = dense_cuts(model), model.architecture
    freest = family(own.carrier or name).dense_cuts or own
    form = target.form or (Form.ADAPTIVE if freest.widths is Freedom.PER_LAYER else Form.UNIFORM)
    chosen = freest if form is Form.ADAPTIVE else own
    chosen = replace(chosen, output_bias=chosen.output_bias and target.biased)
    if chosen.widths is Freedom.FIXED or (form is Form.ADAPTIVE and chosen.widths is not Freedom.PER_LAYER):
        raise UsageError(f"{name} cannot be pruned in the {form} form", f"its widths: {chosen.widths}")
    if target.compensation is Compensation.MEAN and not chosen.output_bias:
        raise UsageError(f"{name} has no bias for a mean", cure="compensate by regression")
    return (own.carrier or name) if form is Form.ADAPTIVE else name, chosen


def _scored(weights: Weights, statistics: Statistics, part: Part, target: Target) -> Scored:
    name = part.output.name
    moments, matrix = _moments(statistics, part), _matrix(weights, part.output)
    away = np.zeros_like(moments.mean[0]) if target.compensation is Compensation.NONE else moments.mean[0]
    fluctuation = moments.variance[0] + (moments.mean[0] - away) ** 2
    if part.unit_inputs == 1:
        losses = channel_losses(matrix, fluctuation)
    else:
        losses = group_losses(matrix, fluctuation, statistics.samples(name) - away, part.n_units)
    return Scored(part, losses, step_of(part, target.multiple))


def _moments(statistics: Statistics, part: Part) -> Moments:
    found = statistics.moments(part.output.name)
    if found is None or found.sums.shape[1] != part.output.row_length:
        raise UsageError(f"{part.output.name} was not calibrated as it is", cure="calibrate, then prune once")
    return found


def _matrix(weights: Weights, info: WeightInfo) -> Floats:
    return weights.rows(info.name, 0, info.n_rows)


def _choose(scored: Sequence[Scored], n_heads: int, declared: DenseCuts, target: Target) -> list[Indices]:
    """What stays of each part, attention first."""
    wanted = target.fraction * n_weights(scored)
    heads, channels = scored[:n_heads], scored[n_heads:]
    if declared.widths is Freedom.PER_LAYER:
        return choose_adaptive(scored, wanted)
    fixed = declared.heads is Freedom.FIXED
    groups, widths = choose_uniform([] if fixed else heads, channels, wanted)
    return [*([one.kept(one.part.n_units) for one in heads] if fixed else groups), *widths]


def _cut_part(
    weights: Weights,
    statistics: Statistics,
    part: Part,
    units: Indices,
    bias: bool,
    target: Target,
    work: Path,
) -> Cut:
    """What changes in one part's tensors."""
    tensors, biases = dict[str, TensorCut](), dict[str, Floats]()
    for info in part.makers:
        size = (info.row_length if len(info.shape) == 1 else info.n_rows) // part.n_units
        rows = places(units, size)
        tensors[info.name] = TensorCut(columns=rows) if len(info.shape) == 1 else TensorCut(rows=rows)
    columns, name = places(units, part.unit_inputs), part.output.name
    folding, offset = _compensation(statistics, part, columns, bias, target)
    path = None if folding is None else _stored(folding, work / f"{name}-{_digest(folding)}.npy")
    tensors[name] = TensorCut(columns=columns, folding=path)
    if offset is not None:
        biases[bias_of(name)] = _bias(weights, part, offset)
    return Cut(tensors, biases)


def _compensation(
    statistics: Statistics, part: Part, columns: Indices, bias: bool, target: Target
) -> tuple[Floats | None, Floats | None]:
    """The folding and the inputs' offset that becomes a bias; each None where there is none."""
    mean, name = _moments(statistics, part).mean[0], part.output.name
    if target.compensation is Compensation.NONE:
        return None, None
    if target.compensation is Compensation.MEAN:
        offset = mean.copy()
        offset[columns] = 0.0
        return None, offset
    if bias:
        return fold_centred(statistics.samples(name), mean, columns, target.ridge)
    return fold(statistics.samples(name), columns, target.ridge), None


def _bias(weights: Weights, part: Part, offset: Floats) -> Floats:
    """The output for inputs of `offset`, on top of the bias that was there."""
    info, name = part.output, bias_of(part.output.name)
    pieces = [
        weights.rows(info.name, first, min(first + _ROWS, info.n_rows)) @ offset
        for first in range(0, info.n_rows, _ROWS)
    ]
    bias = np.concatenate(pieces).astype(np.float32)
    known = {known.name for known in weights.tensors}
    return bias + weights.rows(name, 0, 1)[0] if name in known else bias


def _digest(folding: Floats) -> str:
    return sha256(folding.tobytes()).hexdigest()[:16]


def _stored(folding: Floats, path: Path) -> Path:
    """The folding in a file as TensorCut wants it; it appears whole."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        np.save(part, folding[None].astype(np.float16))
        part.replace(path)
    return path


def _with(cut: Cut, more: Cut) -> Cut:
    return replace(cut, tensors={**cut.tensors, **more.tensors}, replaced={**cut.replaced, **more.replaced})
