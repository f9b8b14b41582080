"""Which heads and channels stay: one ranking over all layers, or the best split with equal widths.

Scores are errors in the residual stream, which adds up what all layers write: they compare across layers and
between heads and channels without being standardised, and what counts is the error for each weight removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from math import gcd

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import UsageError
from sixgig.pruning.dense_tensors import Part
from sixgig.weights.cut import Indices

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """A part and the loss that each of its units would be, [n_units]; `step` units go together.

    What stays is a multiple of `step` units, at least one of them.
    """

    part: Part
    losses: Doubles
    step: int

    @cached_property
    def order(self) -> Indices:
        """Units from the first to go to the last."""
        return np.argsort(self.losses, kind="stable").astype(np.int64)

    @property
    def sizes(self) -> list[int]:
        """Numbers of units that may stay, ascending; all of them is the last."""
        sizes = list(range(self.step, self.part.n_units + 1, self.step))
        return sizes if sizes and sizes[-1] == self.part.n_units else [*sizes, self.part.n_units]

    def kept(self, count: int) -> Indices:
        """The `count` units that stay, ascending."""
        return np.sort(self.order[self.part.n_units - count :])

    def loss(self, count: int) -> float:
        """What is lost when `count` stay."""
        return float(self._lost[self.part.n_units - count])

    @cached_property
    def _lost(self) -> Doubles:
        return np.concatenate(([0.0], np.cumsum(self.losses[self.order])))


def step_of(part: Part, multiple: int) -> int:
    """Units that must go together so that the output's inputs stay a multiple of `multiple`."""
    return multiple // gcd(multiple, part.unit_inputs)


def choose_adaptive(parts: Sequence[Scored], wanted: float) -> list[Indices]:
    """What stays of each part, by one ranking of all; removes `wanted` weights to within one step.

    Source of the global ranking: FLAP (An et al., AAAI 2024). Raises UsageError beyond what can be removed.
    """
    slices = sorted(_slices(parts))
    removed = np.cumsum([0, *(size for _, _, _, size in slices)])
    _require(wanted, int(removed[-1]))
    sizes = [scored.part.n_units for scored in parts]
    for _, number, fewer, _ in slices[: int(np.argmin(np.abs(removed - wanted)))]:
        sizes[number] = -fewer
    return [scored.kept(size) for scored, size in zip(parts, sizes, strict=True)]


def _slices(parts: Sequence[Scored]) -> Iterator[tuple[float, int, int, int]]:
    """(loss a weight, part, minus the units that then stay, weights) of each step; they sort in order."""
    for number, scored in enumerate(parts):
        dearest = 0.0
        for fewer, more in reversed(list(pairwise(scored.sizes))):
            size = (more - fewer) * scored.part.unit_weights
            dearest = max(dearest, (scored.loss(fewer) - scored.loss(more)) / size)
            yield dearest, number, -fewer, size


def choose_uniform(
    heads: Sequence[Scored], channels: Sequence[Scored], wanted: float
) -> tuple[list[Indices], list[Indices]]:
    """What stays of each attention and feed-forward part: as many groups, as many channels in every layer.

    Of all pairs of numbers that remove `wanted` weights to within half a step of channels in every layer, or
    else of the nearest ones, the pair that loses least. Raises UsageError beyond what can be removed, or
    where layers differ.
    """
    pairs = {
        pair: abs(_removed(heads, pair[0]) + _removed(channels, pair[1]) - wanted)
        for pair in product(_common(heads), _common(channels))
    }
    _require(wanted, _removed(heads, _common(heads)[0]) + _removed(channels, _common(channels)[0]))
    slack = sum(scored.step * scored.part.unit_weights for scored in channels) / 2
    close = [pair for pair, error in pairs.items() if error <= max(slack, min(pairs.values()))]
    best = min(close, key=lambda pair: (_lost(heads, pair[0]) + _lost(channels, pair[1]), pairs[pair]))
    return [one.kept(best[0]) for one in heads], [one.kept(best[1]) for one in channels]


def n_weights(parts: Sequence[Scored]) -> int:
    """Weights of all parts."""
    return sum(scored.part.n_units * scored.part.unit_weights for scored in parts)


def _common(parts: Sequence[Scored]) -> list[int]:
    """Numbers that may stay in every part; [0] without parts."""
    if len({scored.part.n_units for scored in parts}) > 1:
        raise UsageError("the layers differ in width", cure="prune each by itself: the adaptive form")
    return parts[0].sizes if parts else [0]


def _removed(parts: Sequence[Scored], count: int) -> int:
    return sum((scored.part.n_units - count) * scored.part.unit_weights for scored in parts)


def _lost(parts: Sequence[Scored], count: int) -> float:
    return sum(scored.loss(count) for scored in parts)


def _require(wanted: float, most: int) -> None:
    if not 0 <= wanted <= most:
        what = f"{wanted / 1e6:.2f} million weights of attention and feed-forward cannot be pruned"
        raise UsageError(what, f"at most {most / 1e6:.2f} million", "prune less")
