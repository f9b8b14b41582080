"""Joules between two moments, by the processor's own counters (RAPL on Linux).

Covers the processor packages, idle share included; not memory, GPUs, disks or the power supply. Source: the
kernel's powercap interface, microjoules that wrap at max_energy_range_uj.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sixgig.hardware.machine import Absent
from sixgig.hardware.meters import energy_meters

_MICRO = 1e-6


@dataclass(frozen=True)
class EnergyReading:
    """Each package's counter: (name, microjoules, where it wraps)."""

    packages: tuple[tuple[str, int, int], ...]


def read_energy(root: Path = Path("/")) -> EnergyReading | Absent:
    """The counters now; Absent, with the reason, where there are none or one cannot be read."""
    try:
        packages = tuple(_package(zone) for zone in _packages(root))
    except (OSError, ValueError):
        packages = ()
    return EnergyReading(packages) if packages else _why(root)


def joules_between(before: EnergyReading | Absent, after: EnergyReading | Absent) -> float | Absent:
    """Energy of all packages; a counter that went back has wrapped once."""
    if isinstance(before, Absent):
        return before
    if isinstance(after, Absent):
        return after
    began = {name: value for name, value, _ in before.packages}
    if began.keys() != {name for name, _, _ in after.packages}:
        return Absent("the counters changed meanwhile")
    return _MICRO * sum((value - began[name]) % (wrap + 1) for name, value, wrap in after.packages)


def _packages(root: Path) -> list[Path]:
    """Zones of whole packages: the names of their parts ("core", "dram") have a second number."""
    zones = (root / "sys/class/powercap").glob("intel-rapl:*")
    return sorted(zone for zone in zones if zone.name.count(":") == 1)


def _package(zone: Path) -> tuple[str, int, int]:
    energy, wrap = ((zone / name).read_text() for name in ("energy_uj", "max_energy_range_uj"))
    return zone.name, int(energy), int(wrap)


def _why(root: Path) -> Absent:
    reasons = [meter.reads for meter in energy_meters(root) if isinstance(meter.reads, Absent)]
    return reasons[0] if reasons else Absent("no processor counter can be read")
