"""What may be cut out of a model at all, as proposals that are written and measured like any recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sixgig.compress.calibration import Calibration
from sixgig.compress.cut import Cut
from sixgig.compress.dense_tensors import feed_forward_parts
from sixgig.compress.expert_tensors import ExpertShapes
from sixgig.compress.experts import drop_experts
from sixgig.compress.flap import Target, flap
from sixgig.compress.rerouting import recalibrate_routers
from sixgig.compress.structure import can_carry
from sixgig.compress.weights import Floats, Weights
from sixgig.compress.widths import narrow_experts
from sixgig.compress.write import Importance
from sixgig.errors import UsageError

_EXPERTS, _WIDTHS = (7,), (3, 2)  # eighths of the experts that stay, quarters of their width
_FRACTIONS = (0.1, 0.2)
_BLOCKS = (256, 32)  # a row stays a whole number of K-quants' blocks, else of the small types'


@dataclass(frozen=True)
class Proposal:
    """A cut that has yet to be made; making it may refuse with UsageError."""

    label: str
    make: Callable[[], Cut]


def proposals(weights: Weights, calibration: Calibration, folder: Path) -> Iterator[Proposal]:
    """From the mildest to the hardest; none for an architecture that carries none."""
    try:
        can_carry(weights.model)
    except UsageError:
        return
    if weights.model.n_experts:
        yield from _of_experts(weights, calibration, folder)
    else:
        yield from _of_channels(weights, calibration, folder)


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


def cut_importance(importance: Importance, cut: Cut) -> Importance:
    """Mean squared inputs of what is left."""

    def of(name: str) -> Floats | None:
        found, change = importance(name), cut.tensors.get(name)
        if found is None or change is None:
            return found
        if change.experts is not None and len(found) > 1:
            found = found[change.experts]
        if change.columns is None:
            return found
        columns = np.broadcast_to(change.columns, (len(found), change.columns.shape[-1]))
        return np.ascontiguousarray(np.take_along_axis(found, columns, axis=1))

    return of
