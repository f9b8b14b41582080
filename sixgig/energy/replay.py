"""A meter that plays a recorded trace: the public fake, for tests without hardware."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sixgig.energy.meter import Reading
from sixgig.energy.rapl import RaplCounters
from sixgig.hardware.energy import EnergyReading
from sixgig.hardware.machine import Absent


class ReplayMeter:
    """Each `read` gives the next reading of the trace, with its recorded time; Absent when it is over.

    The trace may be endless (a generator). A monitor that plays one should be given a clock that agrees with
    the recorded times.
    """

    def __init__(
        self,
        trace: Iterable[Reading | Absent],
        name: str = "a replayed trace",
        estimated: bool = False,
        lag_s: float = 0.0,
    ) -> None:
        self.name = name
        self.estimated = estimated
        self.lag_s = lag_s
        self.absent: Mapping[str, Absent] = {}
        self._trace = iter(trace)

    @classmethod
    def from_rapl(cls, trace: Iterable[tuple[float, EnergyReading | Absent]]) -> ReplayMeter:
        """Raw counters with their times in seconds; joules count from the first reading of the trace."""
        return cls(_resolved(trace), "a replayed trace of RAPL")

    def read(self) -> Reading | Absent:
        """The next one."""
        return next(self._trace, Absent("the trace is over"))

    def close(self) -> None:
        """The trace is over."""
        self._trace = iter(())


def _resolved(trace: Iterable[tuple[float, EnergyReading | Absent]]) -> Iterator[Reading | Absent]:
    counters: RaplCounters | None = None
    for time_s, raw in trace:
        if isinstance(raw, Absent):
            yield raw
            continue
        counters = counters or RaplCounters(raw, time_s)
        yield Reading(time_s, counters.advance(raw, time_s))
