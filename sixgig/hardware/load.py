"""What others make of the processors: the time that went by busy, less what this process took itself."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import psutil

_FIELDS = 8  # user nice system idle iowait irq softirq steal; guests' time is in user's
_IDLE = (3, 4)


@dataclass(frozen=True)
class LoadReading:
    """busy_s: seconds that the watched processors have worked; own_s: that this process took; at_s: when."""

    at_s: float
    busy_s: float
    own_s: float


def read_load(cpus: Collection[int] = (), root: Path = Path("/")) -> LoadReading | None:
    """One reading of these processors, by default all; None where the system does not tell."""
    busy_s = _busy_linux(cpus, root) if (root / "proc").is_dir() else _busy_elsewhere()
    return None if busy_s is None else LoadReading(time.monotonic(), busy_s, time.process_time())


def others_between(before: LoadReading, after: LoadReading) -> float:
    """Processors that others kept busy, on average; 0 where no time has passed.

    What a hypervisor gave to somebody else counts as theirs.
    """
    elapsed_s = after.at_s - before.at_s
    theirs_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return max(0.0, theirs_s / elapsed_s) if elapsed_s > 0 else 0.0


def others_now(cpus: Collection[int] = (), seconds: float = 0.1) -> float:
    """Processors that others keep busy during the next `seconds`; 0 where the system does not tell."""
    before = read_load(cpus)
    time.sleep(seconds)
    after = read_load(cpus)
    return 0.0 if before is None or after is None else others_between(before, after)


def _busy_linux(cpus: Collection[int], root: Path) -> float | None:
    try:
        text = (root / "proc/stat").read_text(errors="replace")
    except OSError:
        return None
    ticks = [_busy_ticks(line, cpus) for line in text.splitlines() if line.startswith("cpu")]
    found = [count for count in ticks if count is not None]
    return sum(found) / os.sysconf("SC_CLK_TCK") if found else None


def _busy_ticks(line: str, cpus: Collection[int]) -> int | None:
    """Of one processor's line; None for the line of them all and for what is not watched."""
    name, *words = line.split()
    number = name.removeprefix("cpu")
    if not number.isdecimal() or (cpus and int(number) not in cpus):
        return None
    if len(words) <= max(_IDLE) or not all(word.isdecimal() for word in words):
        return None
    return sum(int(word) for index, word in enumerate(words[:_FIELDS]) if index not in _IDLE)


def _busy_elsewhere() -> float | None:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle)
