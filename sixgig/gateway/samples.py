"""Totals that only grow, as tokens do, made into a rate and the history of the last two minutes. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

LENGTH = 120
WINDOW_S = 5.0


@dataclass(frozen=True)
class Sample:
    """total: the highest so far. rate: its growth a second, over the window that ends at `at_s`."""

    at_s: float
    total: float
    rate: float
    hit_rate: float | None
    watts: float | None


class Samples:
    """The last 120 samples, meant to be taken once a second; late or missing ones spoil no rate.

    Times are of a monotonic clock and given by the caller.
    """

    def __init__(self, length: int = LENGTH, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._samples: deque[Sample] = deque(maxlen=length)

    def take(
        self, now_s: float, total: float, hit_rate: float | None = None, watts: float | None = None
    ) -> None:
        """Keep `total` as of `now_s`. One below the last, a count that was corrected, adds nothing."""
        highest = max(total, self._samples[-1].total) if self._samples else total
        self._samples.append(Sample(now_s, highest, self._rate(now_s, highest), hit_rate, watts))

    def rate(self, now_s: float) -> float:
        """What was added a second over the last window (less while younger); 0 before the second sample."""
        return self._rate(now_s, self._samples[-1].total) if self._samples else 0.0

    def history(self, now_s: float, epoch_s: float) -> dict[str, list[float] | list[float | None]]:
        """The samples as the status page wants them; `epoch_s` is the time of day at `now_s`.

        An entry's tokens/s are over the window that ended with it, so that the last one is the live figure.
        """
        return {
            "t": [epoch_s - now_s + sample.at_s for sample in self._samples],
            "tokens_per_s": [sample.rate for sample in self._samples],
            "hit_rate": [sample.hit_rate for sample in self._samples],
            "watts": [sample.watts for sample in self._samples],
        }

    def _rate(self, now_s: float, total: float) -> float:
        base = self._base(now_s - self._window_s)
        if base is None or now_s <= base.at_s:
            return 0.0
        return (total - base.total) / (now_s - base.at_s)

    def _base(self, from_s: float) -> Sample | None:
        """The latest sample that is no younger than `from_s`; the first where all are."""
        older = (sample for sample in reversed(self._samples) if sample.at_s <= from_s)
        return next(older, self._samples[0] if self._samples else None)
