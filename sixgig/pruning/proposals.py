"""What may be cut out of a model at all, as proposals that are written and measured like any recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sixgig.calibration.calibration import Calibration
from sixgig.pruning.dense_tensors import feed_forward_parts
from sixgig.pruning.expert_tensors import ExpertShapes
from sixgig.pruning.experts import drop_experts
from sixgig.pruning.flap import Target, flap
from sixgig.pruning.rerouting import recalibrate_routers
from sixgig.pruning.structure import can_be_cut
from sixgig.pruning.widths import narrow_experts
from sixgig.weights.cut import Cut
from sixgig.weights.stored import Weights

_EXPERTS, _WIDTHS = (7,), (3, 2)  # eighths of the experts that stay, quarters of their width
_FRACTIONS = (0.1, 0.2)
_BLOCKS = (256, 32)  # a row stays a whole number of K-quants' blocks, else of the small types'


@dataclass(frozen=True)
class Proposal:
    """A cut that has yet to be made; making it may refuse with UsageError."""

    label: str
    make: Callable[[], Cut]


def proposals(weights: Weights, calibration: Calibration, folder: Path) -> Iterator[Proposal]:
    """From the mildest to the hardest; none where the family declares none."""
    if not can_be_cut(weights.model):
        return
    make = _of_experts if weights.model.n_experts else _of_channels
    yield from make(weights, calibration, folder)


def _of_experts(weights: Weights, calibration: Calibration, folder: Path) -> Iterator[Proposal]:
    shapes = ExpertShapes(weights)
    for eighths in _EXPERTS:
        keep = shapes.n_experts * eighths // 8
        if keep < shapes.n_experts:
            label = f"{keep} of {shapes.n_experts} experts"
            yield Proposal(label, partial(drop_experts, weights, calibration, keep))
            refitted = partial(_refitted, weights, calibration, keep)
            yield Proposal(f"{label}, routers refitted", refitted)
    width = min(layer.width for layer in shapes.layers)
    for quarters in _WIDTHS:
        narrower = _rounded(width * quarters // 4, width)
        if 0 < narrower < width:
            label = f"experts of width {narrower} instead of {width}"
            make = partial(narrow_experts, weights, calibration, narrower, folder)
            yield Proposal(label, make)


def _refitted(weights: Weights, calibration: Calibration, keep: int) -> Cut:
    return recalibrate_routers(weights, calibration, drop_experts(weights, calibration, keep))


def _of_channels(weights: Weights, calibration: Calibration, folder: Path) -> Iterator[Proposal]:
    inputs = {part.output.row_length for part in feed_forward_parts(weights)}
    block = next((block for block in _BLOCKS if all(2 * block <= length for length in inputs)), 1)
    for fraction in _FRACTIONS:
        target = Target(fraction, multiple=block)
        label = f"{fraction:.0%} of attention and feed-forward cut"
        yield Proposal(label, partial(flap, weights, calibration, target, folder))


def _rounded(wanted: int, width: int) -> int:
    """`wanted` down to whole blocks, of the largest size that makes it smaller than `width` but not 0."""
    return next((found for block in _BLOCKS if 0 < (found := wanted // block * block) < width), 0)
