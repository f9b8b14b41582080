"""A clock that stands still, and readings made by hand."""

import threading
from collections.abc import Callable, Iterator

from sixgig.energy import Reading, ReplayMeter
from sixgig.hardware.machine import Absent


class Clock:
    """Seconds, as the test sets them."""

    def __init__(self) -> None:
        self.now_s: float = 0

    def __call__(self) -> float:
        return self.now_s


class Sensor(ReplayMeter):
    """One device whose joules the test sets; reads counts the readings."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(self._play(), "a sensor")
        self.clock = clock
        self.joules: float | Absent = 0
        self.n_reads = 0

    def _play(self) -> Iterator[Reading]:
        while True:
            self.n_reads += 1
            yield Reading(self.clock(), {"chip": self.joules})

    def after(self, seconds: float, watts: float) -> None:
        """Lets time pass."""
        self.clock.now_s += seconds
        assert not isinstance(self.joules, Absent)
        self.joules += seconds * watts


class SlowMeter(ReplayMeter):
    """Once armed, a reading waits until it may proceed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__([])
        self.clock = clock
        self.armed, self.reading, self.proceed = False, threading.Event(), threading.Event()
        self.n_reads = 0

    def read(self) -> Reading:
        now_s = self.clock()
        if self.armed:
            self.n_reads += 1
            self.reading.set()
            assert self.proceed.wait(60)
        return Reading(now_s, {"chip": now_s})


def joules_of(reading: Reading | Absent) -> dict[str, float | Absent]:
    """The joules of a reading that must be one."""
    assert isinstance(reading, Reading)
    return dict(reading.joules)
