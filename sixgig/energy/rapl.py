"""The processor packages' own counters, without any package to install (Linux)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from sixgig.energy.counter import Counter
from sixgig.energy.meter import Clock, Reading
from sixgig.hardware.energy import EnergyReading, read_energy
from sixgig.hardware.machine import Absent
from sixgig.hardware.sysfs import fact

_PER_JOULE = 1_000_000
RAPL_LAG_S = 0.001  # how often the processor updates its counters
PLATFORM = "psys"  # the whole platform, packages included: beside them it would count twice


class RaplCounters:
    """From raw counters to joules, by package. first: the reading they count from."""

    def __init__(self, first: EnergyReading, time_s: float) -> None:
        self._counters = {name: Counter(raw, time_s, _PER_JOULE, wrap) for name, raw, wrap in first.packages}

    def advance(self, raw: EnergyReading, time_s: float) -> dict[str, float | Absent]:
        """Joules by package; a package that is gone is Absent, a new one is passed over."""
        found = {name: value for name, value, _ in raw.packages}
        return {
            name: counter.advance(found[name], time_s) if name in found else Absent("the counter is gone")
            for name, counter in self._counters.items()
        }


class RaplMeter:
    """Covers the processor packages, idle share included; not memory, GPUs, disks or the power supply.

    Wraps are resolved as long as it is read at least once in each wrap period (`Counter`).
    """

    estimated = False
    lag_s = RAPL_LAG_S

    def __init__(self, first: EnergyReading, root: Path = Path("/"), clock: Clock = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._labels = _labels(first, root)
        self._counters = RaplCounters(_named(first, self._labels), clock())
        self.name = "RAPL " + ", ".join(self._labels.values())
        self.absent: Mapping[str, Absent] = {}

    def read(self) -> Reading | Absent:
        """Joules by package."""
        time_s, raw = self._clock(), read_energy(self._root)
        if isinstance(raw, Absent):
            return raw
        return Reading(time_s, self._counters.advance(_named(raw, self._labels), time_s))

    def close(self) -> None:
        """Holds nothing open."""


def open_rapl(root: Path = Path("/"), clock: Clock = time.monotonic) -> RaplMeter | Absent:
    """Absent, with the reason, where there is no counter or one cannot be read."""
    first = read_energy(root)
    return first if isinstance(first, Absent) else RaplMeter(first, root, clock)


def _labels(first: EnergyReading, root: Path) -> dict[str, str]:
    """Zone to package: "intel-rapl:0" to "package-0"."""
    zones = (name for name, _, _ in first.packages)
    labels = {zone: fact(root / "sys/class/powercap" / zone / "name") or zone for zone in zones}
    packages = {zone: label for zone, label in labels.items() if label != PLATFORM}
    return packages or labels


def _named(raw: EnergyReading, labels: Mapping[str, str]) -> EnergyReading:
    return EnergyReading(
        tuple((labels[zone], value, wrap) for zone, value, wrap in raw.packages if zone in labels)
    )
