"""Joules from two constants that the owner read off a wall plug."""

from __future__ import annotations

import time
from collections.abc import Mapping

from sixgig.energy.meter import Clock, Reading
from sixgig.hardware.machine import Absent


class WallMeter:
    """Seconds in which anything ran times busy_watts, the others times idle_watts.

    It senses nothing: `switch` has to tell it when work begins and when none is left, as EnergyMonitor does.
    The constants cover whatever the plug feeds. Not thread-safe: EnergyMonitor holds its lock.
    """

    name = "the owner's wall constants"
    estimated = True
    lag_s = 0.0

    def __init__(self, idle_watts: float, busy_watts: float, clock: Clock = time.monotonic) -> None:
        self.idle_watts = idle_watts
        self.busy_watts = busy_watts
        self.absent: Mapping[str, Absent] = {}
        self._clock = clock
        self._busy = False
        self._since_s = clock()
        self._joules: float = 0

    def switch(self, busy: bool) -> None:
        """From now on something runs, or nothing does; telling the same twice changes nothing."""
        self._integrate()
        self._busy = busy

    def read(self) -> Reading:
        """One device, "wall"."""
        self._integrate()
        return Reading(self._since_s, {"wall": self._joules})

    def close(self) -> None:
        """Holds nothing."""

    def _integrate(self) -> None:
        now_s = self._clock()
        self._joules += (now_s - self._since_s) * (self.busy_watts if self._busy else self.idle_watts)
        self._since_s = now_s
