"""What may be cut out of a model at all, as proposals that are written and measured like any recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
class FewerExperts:
    """Of each layer `n_kept` experts stay. refitted: routers are fitted to those that stay."""

    n_kept: int
    n_experts: int
    refitted: bool = False

    def __str__(self) -> str:
        words = f"{self.n_kept} of {self.n_experts} experts"
        return f"{words}, routers refitted" if self.refitted else words

    def make(self, weights: Weights, calibration: Calibration, folder: Path) -> Cut:
        """The cut; UsageError where it is refused. folder: for foldings."""
        cut = drop_experts(weights, calibration, self.n_kept)
        return recalibrate_routers(weights, calibration, cut) if self.refitted else cut


@dataclass(frozen=True)
class NarrowerExperts:
    """Every expert has `width` channels."""

    width: int
    source_width: int

    def __str__(self) -> str:
        return f"experts of width {self.width} instead of {self.source_width}"

    def make(self, weights: Weights, calibration: Calibration, folder: Path) -> Cut:
        """As FewerExperts'."""
        return narrow_experts(weights, calibration, self.width, folder)


@dataclass(frozen=True)
class FewerChannels:
    """A fraction of the weights of attention and feed-forward goes, `multiple` channels at a time."""

    fraction: float
    multiple: int

    def __str__(self) -> str:
        return f"{self.fraction:.0%} of attention and feed-forward cut"

    def make(self, weights: Weights, calibration: Calibration, folder: Path) -> Cut:
        """As FewerExperts'."""
        return flap(weights, calibration, Target(self.fraction, multiple=self.multiple), folder)


Proposal = FewerExperts | NarrowerExperts | FewerChannels  # a cut that has yet to be made


def proposals(weights: Weights) -> Iterator[Proposal]:
    """From the mildest to the hardest; none where the family declares none."""
    if not can_be_cut(weights.model):
        return
    yield from (_of_experts if weights.model.n_experts else _of_channels)(weights)


def _of_experts(weights: Weights) -> Iterator[Proposal]:
    shapes = ExpertShapes(weights)
    for eighths in _EXPERTS:
        n_kept = shapes.n_experts * eighths // 8
        if n_kept < shapes.n_experts:
            yield FewerExperts(n_kept, shapes.n_experts)
            yield FewerExperts(n_kept, shapes.n_experts, refitted=True)
    width = min(layer.width for layer in shapes.layers)
    for quarters in _WIDTHS:
        narrower = _rounded(width * quarters // 4, width)
        if 0 < narrower < width:
            yield NarrowerExperts(narrower, width)


def _of_channels(weights: Weights) -> Iterator[Proposal]:
    inputs = {part.output.row_length for part in feed_forward_parts(weights)}
    block = next((block for block in _BLOCKS if all(2 * block <= length for length in inputs)), 1)
    for fraction in _FRACTIONS:
        yield FewerChannels(fraction, block)


def _rounded(wanted: int, width: int) -> int:
    """`wanted` down to whole blocks, of the largest size that makes it smaller than `width` but not 0."""
    return next((found for block in _BLOCKS if 0 < (found := wanted // block * block) < width), 0)
