"""One hardware counter, from raw values to joules since it was first read."""

from __future__ import annotations

from sixgig.hardware.machine import Absent

MOST_WATTS = 10_000  # of one device; a faster counter was reset, as by a suspend
_STEP_S = 1.0  # a counter may bring this much of the past along in one update


class Counter:
    """raw: its first value, read at time_s. wrap: its highest value, where it starts again at 0.

    Assumes at least one reading in each wrap period: 262 kJ for many RAPL counters, 17 minutes at 250 W.
    """

    def __init__(self, raw: float, time_s: float, per_joule: int, wrap: int | None = None) -> None:
        self._raw = raw
        self._time_s = time_s
        self._per_joule = per_joule
        self._wrap = wrap
        self._counted: float = 0

    def advance(self, raw: float, time_s: float) -> float | Absent:
        """Joules since the first value; Absent when the counter was reset: it goes on from there."""
        step, seconds = raw - self._raw, time_s - self._time_s
        self._raw, self._time_s = raw, time_s
        if step < 0 and self._wrap is not None:
            step += self._wrap + 1
        if step < 0 or step > MOST_WATTS * (seconds + _STEP_S) * self._per_joule:
            return Absent("the counter was reset")
        self._counted += step
        return self._counted / self._per_joule
