"""Under what a measurement was taken: who else used the processors and the disk, what held this process back.

Others only ever make a measurement slower, so one that was disturbed is kept until a better one can be had,
and no longer. Seen: processor time of others (what a hypervisor gave away included), traffic on the disks,
stops by the quota of a control group, a battery. Not seen: heat, other virtual machines' use of the memory's
and the disk's bandwidth, what a network file system's server does besides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from sixgig.hardware.cgroup import throttled_s
from sixgig.hardware.load import LoadReading, others_between, read_load

Resource = Literal["processors", "disk"]
_LITTLE_BYTES = 1 << 20  # a log's worth
_SHORTEST_S = 0.05  # the kernel counts in hundredths of a second
DISTURBED = 0.25  # of a processor, of the disk's bytes or of the time: from here on a figure tells little
LOOK_S = 0.1  # what one look at the machine takes
_ON_BATTERY = 0.5  # as if half of a processor were others': worse than any calm measurement at the mains


@dataclass(frozen=True)
class Conditions:
    """others: processors that others kept busy, on average. held_back: share of the time that a quota stopped
    this process. traffic: others' share of the bytes that the busiest disk moved.
    """

    others: float = 0.0
    held_back: float = 0.0
    traffic: float = 0.0
    on_battery: bool = False

    def explain(self, resource: Resource) -> str:
        """What disturbed it; empty where nothing did."""
        told = []
        if resource == "processors" and self.others >= DISTURBED:
            told.append(f"others kept {self.others:.1f} processors busy")
        if resource == "disk" and self.traffic >= DISTURBED:
            told.append(f"others moved {self.traffic:.0%} of the disk's bytes")
        if self.held_back >= DISTURBED:
            told.append(f"a quota stopped this process for {self.held_back:.0%} of the time")
        if resource == "processors" and self.on_battery:
            told.append("the machine ran on its battery")
        return ", ".join(told)

    def taken_from(self, resource: Resource) -> float:
        """How much others took; 0 where they took nothing. Reading needs processors too, but not all."""
        if resource == "disk":
            return max(self.traffic, self.held_back)
        return max(self.others, self.held_back, _ON_BATTERY if self.on_battery else 0.0)


CALM = Conditions()


@dataclass(frozen=True)
class Reading:
    """Counters at one moment. moved: bytes by disk, own: this process's of them; None where nobody tells."""

    load: LoadReading | None
    at_s: float
    throttled_s: float = 0.0
    moved: dict[str, int] | None = None
    own_bytes: int = 0
    on_battery: bool = False


def read_now(root: Path = Path("/")) -> Reading:
    """All counters of this system."""
    moved, own_bytes = _traffic()
    return Reading(read_load(root=root), time.monotonic(), throttled_s(root), moved, own_bytes, _on_battery())


class Watch:
    """From its making on."""

    def __init__(self, read: Callable[[], Reading] | None = None) -> None:
        self._read = read or read_now
        self._began = self._read()

    def conditions(self) -> Conditions:
        """Since the watch was made. Shorter than a tenth of a second it sees little."""
        return between(self._began, self._read())


def between(before: Reading, after: Reading) -> Conditions:
    """From one reading to a later one; what a system does not tell, or not so soon, counts as nothing."""
    seconds = after.at_s - before.at_s
    if seconds < _SHORTEST_S:
        return Conditions(on_battery=after.on_battery)
    others = others_between(before.load, after.load) if before.load and after.load else 0.0
    held_back = min(1.0, max(0.0, after.throttled_s - before.throttled_s) / seconds)
    return Conditions(others, held_back, _share(before, after), before.on_battery or after.on_battery)


def look(seconds: float = LOOK_S) -> Conditions:
    """The next moment."""
    watch = Watch()
    time.sleep(seconds)
    return watch.conditions()


def _share(before: Reading, after: Reading) -> float:
    """Layers of one disk count alike, so that the busiest has all that this process moved, or more."""
    if before.moved is None or after.moved is None:
        return 0.0
    moved = max((count - before.moved.get(name, count) for name, count in after.moved.items()), default=0)
    return max(0.0, 1.0 - (after.own_bytes - before.own_bytes) / moved) if moved > _LITTLE_BYTES else 0.0


def _traffic() -> tuple[dict[str, int] | None, int]:
    try:
        disks = psutil.disk_io_counters(perdisk=True)
        own = psutil.Process().io_counters()
    except (OSError, NotImplementedError, AttributeError, RuntimeError, psutil.Error):
        return None, 0
    moved = {name: io.read_bytes + io.write_bytes for name, io in disks.items()}
    return moved, own.read_bytes + own.write_bytes


def _on_battery() -> bool:
    try:
        battery = psutil.sensors_battery()
    except (OSError, AttributeError, RuntimeError, ValueError):
        return False
    return battery is not None and battery.power_plugged is False
