"""Which cores this process may compute on: physical ones, told apart by kind, under affinity and quota."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from sixgig.hardware.cgroup import processor_quota
from sixgig.hardware.sysfs import fact, numbers

_SYSTEM = "sys/devices/system/cpu"
# A core is of the fastest kind from here on: favoured ones of one kind differ by a tenth, a phone's big cores
# do half the work of its biggest and its little ones a third; frequencies differ less than work does.
_CAPACITY_SHARE, _FREQUENCY_SHARE = 0.5, 2 / 3


@dataclass(frozen=True)
class LogicalCpu:
    """One hardware thread. core: the lowest number among the threads of its physical core."""

    number: int
    core: int
    performance: bool = True


@dataclass(frozen=True)
class Cores:
    """performance: physical cores to compute on, 1 at least; physical: cores of every kind.

    cpus: the hardware threads this process may run on, by number; empty where the system has no such numbers.
    """

    performance: int
    physical: int
    logical: int
    cpus: frozenset[int] = frozenset()


def usable_cores(root: Path = Path("/")) -> Cores:
    """The cores now. `root` holds proc/ and sys/."""
    if not hasattr(os, "sched_getaffinity"):
        return _told_cores()
    cpus = list(_allowed(root, os.sched_getaffinity(0)))
    return choose_cores(cpus, processor_quota(root), _threads_per_core(root))


def choose_cores(
    cpus: Collection[LogicalCpu], quota: float | None = None, threads_per_core: int = 1
) -> Cores:
    """One thread a physical core of the fastest kind there is; no more than a quota gives whole processors.

    threads_per_core: of a system that does not say which threads share a core.
    """
    cores = {cpu.core for cpu in cpus}
    fast = {cpu.core for cpu in cpus if cpu.performance} or cores
    physical, performance = (max(1, len(found) // threads_per_core) for found in (cores, fast))
    if quota is not None:
        performance = max(1, min(performance, math.floor(quota)))
    return Cores(performance, physical, max(1, len(cpus)), frozenset(cpu.number for cpu in cpus))


def threads_beside(cores: Cores, others: float) -> int:
    """Threads to compute with while others keep `others` processors busy: their cores are left to them.

    Never fewer than half: beside work that takes everything, half is a fair share.
    """
    free = cores.physical - math.floor(others + 0.5)
    return max(1, cores.performance - cores.performance // 2, min(cores.performance, free))


def _allowed(root: Path, affinity: Collection[int]) -> Iterator[LogicalCpu]:
    """The processors that are on line and in the mask, which the system may not describe at all."""
    online = numbers(fact(root / _SYSTEM / "online"))
    allowed = sorted(set(affinity) & online or affinity)
    fast = _fastest(root, allowed)
    for number in allowed:
        topology = root / _SYSTEM / f"cpu{number}/topology"
        told = fact(topology / "core_cpus_list") or fact(topology / "thread_siblings_list")
        yield LogicalCpu(number, min(numbers(told) | {number}), number in fast)


def _fastest(root: Path, allowed: Collection[int]) -> set[int]:
    """Those of the fastest kind: as Intel's hybrids name it, else by capacity, else by highest frequency."""
    if named := numbers(fact(root / "sys/devices/cpu_core/cpus")) & set(allowed):
        return named
    for file, share in (("cpu_capacity", _CAPACITY_SHARE), ("cpufreq/cpuinfo_max_freq", _FREQUENCY_SHARE)):
        told = {number: fact(root / _SYSTEM / f"cpu{number}" / file) for number in allowed}
        speeds = {number: int(text) for number, text in told.items() if text.isdecimal()}
        if len(speeds) == len(allowed) and len(set(speeds.values())) > 1:
            return {number for number, speed in speeds.items() if speed >= share * max(speeds.values())}
    return set(allowed)


def _threads_per_core(root: Path) -> int:
    """By /proc/cpuinfo, where sysfs does not tell who shares a core; else 1."""
    if (root / _SYSTEM / "cpu0/topology").is_dir():
        return 1
    told = fact(root / "proc/cpuinfo").split("processor : ")[-1]
    siblings, cores = (
        told.partition(f"{name} : ")[2].partition(" ")[0] for name in ("siblings", "cpu cores")
    )
    known = siblings.isdecimal() and cores.isdecimal() and 0 < int(cores) <= int(siblings)
    return int(siblings) // int(cores) if known else 1


def _told_cores() -> Cores:
    """Of a system without masks: macOS names its performance cores' level 0."""
    logical = os.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    fast = _sysctl("hw.perflevel0.physicalcpu") if platform.system() == "Darwin" else None
    return Cores(min(fast or physical, physical), physical, logical)


def _sysctl(name: str) -> int | None:
    try:
        told = subprocess.run(
            ["sysctl", "-n", name], capture_output=True, text=True, timeout=5
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return int(told) if told.isdecimal() and int(told) > 0 else None
