"""A multiple-choice knapsack: one choice from every group, least total cost within a number of bytes.

A few sweeps, each from a better solution. A sweep goes through the groups, those nearest to a tie first, and
keeps the states (bytes, cost) worth going on with: none that another beats in both, none whose cost plus the
linear relaxation of the groups to come (Sinha and Zoltners, 1979) is above the best known solution. Every
state also makes a solution, by the whole steps of that relaxation (as in Pisinger, 1995).

Costs are counted in whole units, rounded down, so sums are exact in any order. A unit is a power of two, so
small that all roundings together stay below 1e-9 of the best cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise, repeat

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import BudgetError
from sixgig.units import format_bytes

RELATIVE = 1e-9
# States a sweep keeps, sweep by sweep; in all, they stay below STATES, and their extensions below EXTENSIONS.
LIMITS = (1, 1 << 10, 1 << 14, 1 << 18)
STATES, EXTENSIONS = 1 << 24, 1 << 20
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
_MOST_ROOM = 1 << 53


@dataclass(frozen=True)
class Choice:
    """One way to store a group; cost: expected loss in nats, finite and at least 0."""

    size_bytes: int
    cost: float


@dataclass(frozen=True)
class Solution:
    """choices: an index per group. lower_bound: no solution within the budget costs less than this."""

    choices: tuple[int, ...]
    size_bytes: int
    cost: float
    lower_bound: float

    @property
    def gap(self) -> float:
        """The part of the cost, from 0 to 1, that a better solution may save at most; 1e-9 counts as none."""
        return (self.cost - self.lower_bound) / self.cost if self.cost else 0.0


def solve(groups: Sequence[Sequence[Choice]], budget_bytes: int) -> Solution:
    """The choices of least total cost that take at most `budget_bytes`; of equal costs, the fewest bytes.

    Proven to 1e-9 of the cost, and ties to as much, unless the states outgrow LIMITS: then those of the
    highest bounds go and `lower_bound` takes their place, so `gap` may be above 1e-9 and ties go unproven.
    Covers sizes that add up to less than 2**53, costs of 0 or at least 1e-280. Raises BudgetError with
    the smallest size possible.
    """
    assert all(0 <= choice.cost < math.inf and choice.size_bytes >= 0 for group in groups for choice in group)
    picks = [min(range(len(group)), key=lambda at: _rank(group[at])) for group in groups]
    smallest = _size(groups, picks)
    if smallest > budget_bytes:
        raise _too_small(smallest, budget_bytes)
    room = min(budget_bytes - smallest, _MOST_ROOM)
    for limit in chain(LIMITS, repeat(LIMITS[-1])):
        known = _cost(groups, picks)
        picks, bound, exact = _improve(groups, picks, room, limit)
        cost = _cost(groups, picks)
        if cost >= known / 2 and (exact or _enough(limit, bound, cost)):  # below, the unit was too coarse
            break
    return Solution(tuple(picks), _size(groups, picks), cost, min(bound, cost))


def _rank(choice: Choice) -> tuple[int, float]:
    return choice.size_bytes, choice.cost


def _enough(limit: int, bound: float, cost: float) -> bool:
    """Whether to stop without proof: at the last limit, or earlier where only the bytes of a tie are open."""
    return limit == LIMITS[-1] or (limit == LIMITS[-2] and bound >= cost * (1 - RELATIVE))


def _too_small(smallest: int, budget_bytes: int) -> BudgetError:
    numbers = f"needs {format_bytes(smallest)}, {format_bytes(budget_bytes)} allowed"
    return BudgetError("the smallest choices do not fit", numbers, f"allow at least {smallest} bytes")


def _size(groups: Sequence[Sequence[Choice]], picks: Sequence[int]) -> int:
    return sum(group[at].size_bytes for group, at in zip(groups, picks, strict=True))


def _cost(groups: Sequence[Sequence[Choice]], picks: Sequence[int]) -> float:
    return math.fsum(group[at].cost for group, at in zip(groups, picks, strict=True))


def _improve(
    groups: Sequence[Sequence[Choice]], picks: list[int], room: int, limit: int
) -> tuple[list[int], float, bool]:
    """A solution at least as good as `picks`, a lower bound on all, and whether nothing can beat or tie it.

    room: bytes above the smallest choices.
    """
    known = _cost(groups, picks)
    unit = _unit(known, len(groups))
    stairs = [_stairs(number, group, known, unit) for number, group in enumerate(groups)]
    cost = sum(math.floor(group[at].cost / unit) for group, at in zip(groups, picks, strict=True))
    size = _size(groups, picks) - sum(min(choice.size_bytes for choice in group) for group in groups)
    sweep = _Sweep(_worthwhile(stairs, room, cost), room, limit, _Found(cost, size))
    sweep.run()
    bound = min(sweep.dropped, sweep.best.cost) * unit
    return sweep.picks(picks), bound, sweep.dropped > sweep.best.cost


def _unit(known: float, groups: int) -> float:
    """A power of two that, once per group, makes at most 1e-9 of half the known cost."""
    _, exponent = math.frexp(known * RELATIVE / 2 / max(groups, 1))
    return math.ldexp(1.0, max(exponent - 1, -1000))


@dataclass(frozen=True)
class _Stairs:
    """A group's choices that none beats: `at` in the group; sizes above its smallest rise, costs fall."""

    group: int
    at: Ints
    sizes: Ints
    costs: Ints

    def take(self, keep: Mask) -> _Stairs:
        """These of them."""
        return _Stairs(self.group, self.at[keep], self.sizes[keep], self.costs[keep])


def _stairs(number: int, group: Sequence[Choice], known: float, unit: float) -> _Stairs:
    """Without the choices that another beats, and without those above the cost of a known solution."""
    order = sorted(range(len(group)), key=lambda at: _rank(group[at]))
    kept: list[tuple[int, int, int]] = []
    for at in order:
        cost = math.floor(group[at].cost / unit)
        if group[at].cost <= known and (not kept or cost < kept[-1][2]):
            kept.append((at, group[at].size_bytes - group[order[0]].size_bytes, cost))
    return _Stairs(number, *np.array(kept, np.int64).T)


def _hull(stairs: _Stairs) -> list[int]:
    """The stairs on the lower convex hull, in exact arithmetic."""
    points = list(zip(stairs.sizes.tolist(), stairs.costs.tolist(), strict=True))
    hull: list[int] = []
    for new in range(len(points)):
        while len(hull) > 1 and _above(*(points[at] for at in (*hull[-2:], new))):
            hull.pop()
        hull.append(new)
    return hull


def _above(left: tuple[int, int], middle: tuple[int, int], right: tuple[int, int]) -> bool:
    """Whether `middle` is on or above the line between the others."""
    return (left[1] - middle[1]) * (right[0] - middle[0]) <= (middle[1] - right[1]) * (middle[0] - left[0])


class _Relaxation:
    """Sinha and Zoltners' linear relaxation of the groups from a layer on: cost by bytes.

    Its corners, the first being every group's smallest stair, are solutions; between them are lower bounds.
    """

    def __init__(self, layers: Sequence[_Stairs]) -> None:
        rows = [
            (layer, to, stairs.sizes[to] - stairs.sizes[at], stairs.costs[at] - stairs.costs[to])
            for layer, stairs in enumerate(layers)
            for at, to in pairwise(_hull(stairs))
        ]
        steps = np.array(rows, np.int64).reshape(-1, 4)
        self._steps = steps[np.argsort(-steps[:, 3] / steps[:, 2], kind="stable")]
        smallest = [(stairs.sizes[0], stairs.costs[0]) for stairs in layers]
        self._smallest = np.array(smallest, np.int64).reshape(-1, 2)
        self.start(0)

    def start(self, layer: int) -> None:
        """Leave out the groups before `layer`."""
        self._layers, self._to, sizes, gains = self._steps[self._steps[:, 0] >= layer].T
        size, cost = self._smallest[layer:].sum(axis=0)
        self.sizes = size + np.append(0, np.cumsum(sizes))
        self.costs = cost - np.append(0, np.cumsum(gains))
        self._slopes = np.append(gains / sizes, 0.0)

    def corners(self, rooms: Ints) -> Ints:
        """The last corner within each room, -1 where there is none."""
        return np.searchsorted(self.sizes, rooms, side="right") - 1

    def slope(self, room: int) -> float:
        """Cost that another byte would save."""
        return float(self._slopes[self.corners(np.array([room]))[0]])

    def bounds(self, rooms: Ints) -> Ints:
        """Lower bounds on the cost in each room; each holds the first corner."""
        at = self.corners(rooms)
        # Costs are whole, so savings round down, after a lift above the product's rounding errors.
        savings = self._slopes[at] * (rooms - self.sizes[at]) * (1 + 1e-15)
        bounds: Ints = self.costs[at] - np.floor(savings).astype(np.int64)
        return bounds

    def stairs(self, corner: int) -> list[tuple[int, int]]:
        """(layer, stair) of the steps up to a corner, in order: later ones replace earlier ones."""
        return list(zip(self._layers[:corner].tolist(), self._to[:corner].tolist(), strict=True))


def _worthwhile(stairs: list[_Stairs], room: int, known: int) -> list[_Stairs]:
    """Only stairs whose reduced costs admit a solution as good as `known`; groups nearest to a tie first."""
    slope = _Relaxation(stairs).slope(room)
    reduced = [group.costs + slope * group.sizes for group in stairs]
    least = [float(costs.min()) for costs in reduced]
    margin = 1 + 1e-12 * (known + slope * room)  # far above the rounding errors
    slack = known - (math.fsum(least) - slope * room) + margin
    second = [np.sort(costs - low)[1:2].tolist() for costs, low in zip(reduced, least, strict=True)]
    kept = [group.take(reduced[at] - least[at] <= slack) for at, group in enumerate(stairs)]
    return [kept[at] for at in sorted(range(len(kept)), key=second.__getitem__)]


@dataclass(frozen=True)
class _States:
    """Choices for the groups so far, by rising sizes; `parents` and `stairs` say how each came about."""

    sizes: Ints
    costs: Ints
    bounds: Ints
    parents: Ints
    stairs: Ints

    def take(self, at: Ints | Mask) -> _States:
        """These of them."""
        return _States(self.sizes[at], self.costs[at], self.bounds[at], self.parents[at], self.stairs[at])


def _undominated(states: _States) -> _States:
    """By rising sizes, only the states that cost less than every smaller one."""
    states = states.take(np.argsort(states.sizes, kind="stable"))
    before = np.minimum.accumulate(np.append(np.iinfo(np.int64).max, states.costs))[:-1]
    states = states.take(states.costs < before)
    after = np.append(states.sizes[1:], np.iinfo(np.int64).max)[: len(states.sizes)]
    return states.take(states.sizes < after)


@dataclass(frozen=True)
class _Found:
    """A solution of a sweep: `state` before `layer`, then the relaxation's `corner`."""

    cost: int
    size: int
    layer: int = -1
    state: int = 0
    corner: int = 0


class _Sweep:
    """One pass over the groups, from a known solution; `dropped` is the least bound of states left out."""

    def __init__(self, stairs: list[_Stairs], room: int, limit: int, known: _Found) -> None:
        self._single = [group for group in stairs if len(group.at) == 1]
        self._layers = [group for group in stairs if len(group.at) > 1]
        widest = max((len(group.at) for group in self._layers), default=1)
        self._limit = max(1, min(limit, STATES // max(len(self._layers), 1), EXTENSIONS // widest))
        self._relaxed = _Relaxation(self._layers)
        self._trail: list[tuple[NDArray[np.int32], NDArray[np.uint16]]] = []
        self._room, self.best, self.dropped = room, known, 1 << 62

    def run(self) -> None:
        """Set `best` and `dropped`."""
        states = self._begun()
        self._complete(states, 0)
        for layer, group in enumerate(self._layers):
            self._relaxed.start(layer + 1)
            states = self._trimmed(_undominated(self._extended(states, group)))
            self._trail.append((states.parents.astype(np.int32), states.stairs.astype(np.uint16)))
            self._complete(states, layer + 1)

    def _begun(self) -> _States:
        """The one state before the first layer: the groups that have no choice."""
        zero = np.zeros(1, np.int64)
        sizes = sum((group.sizes for group in self._single), zero)
        costs = sum((group.costs for group in self._single), zero)
        return _States(sizes, costs, zero, zero, zero)

    def _extended(self, states: _States, group: _Stairs) -> _States:
        """Every state with every stair, where a solution as good as the best may come of it."""
        pieces = [self._with_stair(states, group, stair) for stair in range(len(group.at))]
        return _States(*(np.concatenate(columns) for columns in zip(*pieces, strict=True)))

    def _with_stair(self, states: _States, group: _Stairs, stair: int) -> tuple[Ints, ...]:
        most = self._room - group.sizes[stair] - self._relaxed.sizes[0]
        fits = np.searchsorted(states.sizes, most, side="right")
        sizes, costs = states.sizes[:fits] + group.sizes[stair], states.costs[:fits] + group.costs[stair]
        bounds = costs + self._relaxed.bounds(self._room - sizes)
        keep = np.flatnonzero(bounds <= self.best.cost)
        return sizes[keep], costs[keep], bounds[keep], keep, np.full(len(keep), stair)

    def _trimmed(self, states: _States) -> _States:
        """At most `_limit` states, those of the lowest bounds."""
        if len(states.sizes) <= self._limit:
            return states
        order = np.argsort(states.bounds, kind="stable")
        self.dropped = min(self.dropped, int(states.bounds[order[self._limit]]))
        return states.take(np.sort(order[: self._limit]))

    def _complete(self, states: _States, layer: int) -> None:
        """Complete every state by the last corner that fits; take the best if it beats the known one."""
        if not len(states.sizes):
            return
        corners = self._relaxed.corners(self._room - states.sizes)
        costs = states.costs + self._relaxed.costs[corners]
        sizes = states.sizes + self._relaxed.sizes[corners]
        at = min(np.flatnonzero(costs == costs.min()).tolist(), key=sizes.__getitem__)
        if (costs[at], sizes[at]) < (self.best.cost, self.best.size):
            self.best = _Found(int(costs[at]), int(sizes[at]), layer, at, int(corners[at]))

    def picks(self, known: list[int]) -> list[int]:
        """The best solution as a choice per group; `known` is the one the sweep began with."""
        if self.best.layer < 0:
            return known
        picks = list(known)
        for group in self._single:
            picks[group.group] = int(group.at[0])
        for group, stair in zip(self._layers, self._chosen(), strict=True):
            picks[group.group] = int(group.at[stair])
        return picks

    def _chosen(self) -> list[int]:
        """The best solution as a stair per layer."""
        stairs, state = [0] * len(self._layers), self.best.state
        self._relaxed.start(self.best.layer)
        for layer, stair in self._relaxed.stairs(self.best.corner):
            stairs[layer] = stair
        for layer in range(self.best.layer - 1, -1, -1):
            parents, chosen = self._trail[layer]
            stairs[layer], state = int(chosen[state]), int(parents[state])
        return stairs
