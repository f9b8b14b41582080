"""Which resident expert leaves when another must come in.

An expert is a number: `layer * n_experts + id`. One cache holds the experts of all layers. The same
policies live in native/policy.cpp; these are their readable twins, for the simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sixgig.pager.trace import Shape


class Policy(Protocol):
    """Told of every use; names the victim. Never told of bytes: the cache asks again until there is room."""

    def touch(self, expert: int, visit: int) -> None:
        """`expert` is used in `visit`, resident or about to be admitted. Visits never go backwards."""

    def admit(self, expert: int, visit: int) -> None:
        """`expert`, just touched, is resident from now on."""

    def victim(self, pinned: Container[int]) -> int:
        """The resident expert to evict, never a pinned one. Raises LookupError when all are pinned."""

    def forget(self, expert: int) -> None:
        """`expert` is no longer resident."""


PolicyMaker = Callable[[Shape], Policy]


class LeastRecentlyUsed:
    """LRU over all layers. Falls off a cliff (no hit at all) below one token's worth of experts."""

    def __init__(self, shape: Shape) -> None:
        self._order: dict[int, bool] = {}  # expert -> resident, oldest use first

    def touch(self, expert: int, visit: int) -> None:
        """Moves the expert to the recent end."""
        self._order[expert] = self._order.pop(expert, False)

    def admit(self, expert: int, visit: int) -> None:
        """Keeps the place its touch gave it."""
        self._order[expert] = True

    def victim(self, pinned: Container[int]) -> int:
        """The one used longest ago."""
        for expert, resident in self._order.items():
            if resident and expert not in pinned:
                return expert
        raise LookupError("every resident expert is pinned")

    def forget(self, expert: int) -> None:
        """Drops the expert and its place."""
        del self._order[expert]


HALF_LIVES = (1.0, 4.0, 16.0, 64.0)  # in visits of the expert's own layer, that is tokens while decoding
LEARNING_RATE = 1.0 / 128.0  # of the weights, per visit
LEAST_WEIGHT = 1e-3  # so that a weight can come back
_FLOOR = 1e-6  # use rate taken for an expert that is never used
_VANISHED = 1e-30  # rates below this become zero: denormal numbers are slow
_N = len(HALF_LIVES)

Floats = NDArray[np.float64]


class DecayedFrequency:
    """Evicts the expert with the longest expected wait until its next use.

    Each expert, resident or not, has exponentially decayed frequencies of use with HALF_LIVES; its use rate
    is their weighted sum. The short ones protect what just came in, the long ones remember what left; the
    weights follow what foretold the uses best so far (online expectation maximisation, a uniform guess as
    last component). Frequencies fade when the expert's own layer is visited, so the layers due next are not
    at a disadvantage. Wait in token cycles = 1 / rate + the part of a cycle until the layer comes round.

    A touch costs one pass over its layer per visit; a victim one pass over the layers, plus one over a
    layer's experts where that layer changed.
    """

    def __init__(self, shape: Shape) -> None:
        self._layers = [layer for layer, size in enumerate(shape.expert_bytes) if size]
        self._rank = {layer: rank for rank, layer in enumerate(self._layers)}
        self._n = shape.n_experts
        cells = (len(self._layers), shape.n_experts)
        self._fade = np.exp2(-1.0 / np.array(HALF_LIVES))
        self._weights = np.full(_N + 1, 1.0 / (_N + 1))
        self._used: list[Floats] = []  # what the components foretold of this visit's experts
        self._frequency = np.zeros((len(self._layers), _N, shape.n_experts))
        self._wait = np.full(cells, 1.0 / _FLOOR)
        self._resident = np.zeros(cells, dtype=bool)
        self._visit = [-1] * len(self._layers)
        self._now = 0  # rank of the layer visited last
        self._longest: list[tuple[float, int] | None] = [None] * len(self._layers)  # None: look again

    def touch(self, expert: int, visit: int) -> None:
        """Fades its layer's frequencies if the visit is new, then raises the expert's own."""
        rank, column = self._cell(expert)
        if self._visit[rank] != visit:
            self._begin(rank, visit)
        frequency = self._frequency[rank, :, column]
        self._used.append(frequency / self._fade)  # as it stood before this visit
        frequency += 1.0 - self._fade
        self._wait[rank, column] = self._expected_wait(frequency)

    def admit(self, expert: int, visit: int) -> None:
        """Makes it a candidate for eviction."""
        self._resident[self._cell(expert)] = True
        self._longest[self._cell(expert)[0]] = None

    def victim(self, pinned: Container[int]) -> int:
        """The longest wait, the way to its layer's next visit included; ties go to the lowest number."""
        waits = [self._longest_of(rank, pinned)[0] for rank in range(len(self._layers))]
        rank = int(np.argmax(np.array(waits) + self._until_visited()))
        wait, expert = self._longest_of(rank, pinned)
        if wait < 0.0:
            raise LookupError("every resident expert is pinned")
        return expert

    def forget(self, expert: int) -> None:
        """Keeps its frequencies: what left may return."""
        self._resident[self._cell(expert)] = False
        self._longest[self._cell(expert)[0]] = None

    def _cell(self, expert: int) -> tuple[int, int]:
        layer, column = divmod(expert, self._n)
        return self._rank[layer], column

    def _begin(self, rank: int, visit: int) -> None:
        """Learns from the visit before; one more visit of this layer: everything in it fades."""
        self._learn()
        self._visit[rank], self._now, self._longest[rank] = visit, rank, None
        frequency = self._frequency[rank]
        frequency *= self._fade[:, None]
        frequency[frequency < _VANISHED] = 0.0
        self._wait[rank] = self._expected_wait(frequency)

    def _learn(self) -> None:
        """Moves the weights towards each component's mean share in foretelling the last visit's experts."""
        if not self._used:
            return
        share = np.zeros(_N + 1)
        for foretold in self._used:
            credit = self._weights * np.append(foretold, len(self._used) / self._n)
            share += credit / _sum(credit)
        self._weights += LEARNING_RATE * (share / len(self._used) - self._weights)
        np.maximum(self._weights, LEAST_WEIGHT, out=self._weights)
        self._used.clear()

    def _expected_wait(self, frequency: Floats) -> Floats:
        """Token cycles between uses, from frequencies [half-life, ...]."""
        weighted = (self._weights[:_N] * frequency.T).T
        return np.asarray(1.0 / (_sum(weighted) + _FLOOR))

    def _until_visited(self) -> Floats:
        """Part of a token cycle, in (0, 1], until each routed layer is visited again."""
        n = len(self._layers)
        return ((np.arange(n) - self._now - 1) % n + 1) / n

    def _longest_of(self, rank: int, pinned: Container[int]) -> tuple[float, int]:
        """Longest wait in a layer and its expert, (-inf, -1) where nothing may leave."""
        known = self._longest[rank]
        if known is None:
            known = self._longest[rank] = self._search(rank, self._resident[rank])
        if known[1] in pinned:
            return self._search(rank, self._resident[rank] & ~self._marked(rank, pinned))
        return known

    def _search(self, rank: int, candidates: NDArray[np.bool_]) -> tuple[float, int]:
        waits = np.where(candidates, self._wait[rank], -np.inf)
        column = int(np.argmax(waits))
        wait = float(waits[column])
        return (wait, self._layers[rank] * self._n + column) if wait >= 0.0 else (-np.inf, -1)

    def _marked(self, rank: int, pinned: Container[int]) -> NDArray[np.bool_]:
        first = self._layers[rank] * self._n
        return np.array([expert in pinned for expert in range(first, first + self._n)])


def _sum(parts: Floats) -> Floats:
    """Sum over the first axis in its order, as the native twin adds."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return np.asarray(total)


POLICIES: dict[str, PolicyMaker] = {"lru": LeastRecentlyUsed, "decayed": DecayedFrequency}
