"""What every meter gives: joules of each device, counted since the meter was opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sixgig.hardware.machine import Absent

Clock = Callable[[], float]


@dataclass(frozen=True)
class Reading:
    """time_s: of the monotonic clock, when the reading began.

    joules: by device, since the meter was opened, never falling, wraps resolved; Absent for a device that
    could not be read this time.
    """

    time_s: float
    joules: Mapping[str, float | Absent]


class Meter(Protocol):
    """A source of joules. Opening it starts the count.

    name: what it covers, for people. estimated: the joules rest on the owner's constants or on power that was
    sampled, not on energy counters. absent: devices it would cover but cannot read, and why. lag_s: how late
    its joules may be.
    """

    name: str
    estimated: bool
    absent: Mapping[str, Absent]
    lag_s: float

    def read(self) -> Reading | Absent:
        """The count now. Never raises; blocks from a tenth of a millisecond (files) to tens (GPU drivers)."""

    def close(self) -> None:
        """Lets go of what it holds; a second call does nothing."""


class AbsentMeter:
    """Stands where there is no meter, and says why."""

    name = "no meter"
    estimated = False
    lag_s = 0.0

    def __init__(self, why: Absent) -> None:
        self._why = why
        self.absent: Mapping[str, Absent] = {}

    def read(self) -> Absent:
        """Always the reason."""
        return self._why

    def close(self) -> None:
        """Holds nothing."""
