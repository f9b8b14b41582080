"""The tightest limit on what this process may hold: a control group's, its own, the machine's memory."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from sixgig.hardware.cgroup import memory_group
from sixgig.hardware.memory import machine_memory, process_memory, swap_bytes

MIB = 1 << 20
# What a group is charged for besides: page tables, sockets, pages of files that cannot be dropped at once.
KERNEL_BYTES, KERNEL_SHARE = 16 * MIB, 32
# What the engine takes and does not fill: its library; stacks and heaps of its threads. Measured: LOG.md.
LIBRARY_BYTES, THREAD_SPACE_BYTES, THREAD_DATA_BYTES = 512 * MIB, 72 * MIB, 16 * MIB


@dataclass(frozen=True)
class MemoryLimit:
    """name: as a person would look for it. reachable_bytes: the most that this process can hold under it,
    below zero where more is taken already.
    """

    name: str
    limit_bytes: int
    reachable_bytes: int

    def for_budget(self, ram_bytes: int) -> int:
        """What the limit would have to be, all else as it is."""
        return self.limit_bytes + ram_bytes - self.reachable_bytes


def memory_limit(root: Path = Path("/")) -> MemoryLimit:
    """The one that allows least. `root` holds proc/ and sys/."""
    return min(_limits(root), key=lambda limit: limit.reachable_bytes)


def _limits(root: Path) -> Iterator[MemoryLimit]:
    held = process_memory().resident_bytes
    whole = machine_memory(root).ram_bytes + swap_bytes(root)
    yield MemoryLimit("this machine's memory", whole, whole)
    group = memory_group(root)
    if group is not None:
        reachable = min(group.limit_bytes, group.free_bytes + held)
        kept = max(KERNEL_BYTES, group.limit_bytes // KERNEL_SHARE)
        yield MemoryLimit("the control group's memory limit", group.limit_bytes, reachable - kept)
    with contextlib.suppress(psutil.Error, AttributeError):  # told on Linux
        used, cores = psutil.Process().memory_info(), len(psutil.Process().cpu_affinity() or ())
        space, data = (LIBRARY_BYTES + cores * one for one in (THREAD_SPACE_BYTES, THREAD_DATA_BYTES))
        yield from _own("address space (ulimit -v)", resource.RLIMIT_AS, held - used.vms - space)
        yield from _own("data (ulimit -d)", resource.RLIMIT_DATA, held - used.data - data)


def _own(name: str, number: int, beside: int) -> Iterator[MemoryLimit]:
    limit, _ = resource.getrlimit(number)
    if limit != resource.RLIM_INFINITY:
        yield MemoryLimit(f"this process's limit on {name}", limit, limit + beside)
