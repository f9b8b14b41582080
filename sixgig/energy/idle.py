"""The power of a machine at rest, for each set of loaded models. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import accumulate

from sixgig.hardware.machine import Absent

Models = frozenset[str]

CHUNK_S = 0.5  # shorter spells are pooled: counters step, so a short spell alone tells little
LEAST_S = 1.0  # of rest before a power is told
RECENT = 64  # chunks of a set that count
MOST_SETS = 64

_UNKNOWN = Absent("no idle power is known yet for the loaded models: it is learned while nothing runs")


class IdlePower:
    """Learns from spells without any request: the time-weighted lower median of a set's recent chunks.

    Bursts of other programs in less than half of the time hardly move it; their steady load counts as idle.
    Memory is bounded: at most MOST_SETS sets, of which the one that rested longest ago is forgotten, never
    the empty one.
    """

    def __init__(self) -> None:
        self._sets: dict[Models, _Rest] = {}

    def observe(self, models: Models, joules: float, seconds: float) -> None:
        """One spell in which no request ran. seconds: above 0."""
        rest = self._sets.pop(models, None) or _Rest()
        rest.add(joules, seconds)
        self._sets[models] = rest
        if len(self._sets) > MOST_SETS:
            del self._sets[next(known for known in self._sets if known)]

    def watts(self, models: Models) -> float | Absent:
        """Idle power with exactly these models loaded; Absent before LEAST_S of rest were seen."""
        rest = self._sets.get(models)
        return _UNKNOWN if rest is None or rest.watts is None else rest.watts

    def sets_with(self, model: str) -> list[Models]:
        """Sets with this model of which something is known, the smallest first."""
        return sorted((models for models in self._sets if model in models), key=lambda s: (len(s), sorted(s)))


class _Rest:
    """What is known of one set."""

    def __init__(self) -> None:
        self.watts: float | None = None
        self._chunks: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self._joules: float = 0
        self._seconds: float = 0

    def add(self, joules: float, seconds: float) -> None:
        self._joules += joules
        self._seconds += seconds
        if self._seconds < CHUNK_S:
            return
        self._chunks.append((self._joules / self._seconds, self._seconds))
        self._joules = self._seconds = 0
        if sum(length for _, length in self._chunks) >= LEAST_S:
            self.watts = _median(self._chunks)


def _median(chunks: deque[tuple[float, float]]) -> float:
    """The least power at or below which the machine was for at least half of the time."""
    ordered = sorted(chunks)
    passed_s = list(accumulate(seconds for _, seconds in ordered))
    return ordered[bisect_left(passed_s, passed_s[-1] / 2)][0]
