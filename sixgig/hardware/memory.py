"""Memory of the machine and of this process."""

from __future__ import annotations

import ctypes
import mmap
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from sixgig.hardware.cgroup import memory_group

_HUGE_PAGE_BYTES = 2 << 20


@dataclass(frozen=True)
class MachineMemory:
    """ram_bytes: installed. available_bytes: what may be taken now without swapping or being killed."""

    ram_bytes: int
    available_bytes: int
    cgroup_limit_bytes: int | None


@dataclass(frozen=True)
class ProcessMemory:
    """Resident pages of this process, by kind. Where the system does not tell them apart all are anonymous.

    shared_bytes: shared memory and tmpfs pages. peak_bytes: most resident at once since the process began,
    all kinds together (the kernel keeps no peak per kind: PeakSampler does).
    """

    anonymous_bytes: int
    file_bytes: int
    shared_bytes: int
    peak_bytes: int

    @property
    def resident_bytes(self) -> int:
        """All kinds together."""
        return self.anonymous_bytes + self.file_bytes + self.shared_bytes


def machine_memory(root: Path = Path("/")) -> MachineMemory:
    """Installed and available memory under every limit that holds. `root` holds proc/ and sys/."""
    ram, available = _meminfo(root)
    group = memory_group(root)
    if group is None:
        return MachineMemory(ram, available, None)
    return MachineMemory(ram, min(available, group.free_bytes), group.limit_bytes)


def available_bytes(root: Path = Path("/")) -> int:
    """What a new process may take now: MemAvailable or what its control group leaves, the smaller."""
    return machine_memory(root).available_bytes


def swap_bytes(root: Path = Path("/")) -> int:
    """Swap space in all, used or not; 0 also where the system does not tell."""
    fields = _kib_fields(root / "proc/meminfo")
    if "SwapTotal" in fields:
        return fields["SwapTotal"]
    try:
        return int(psutil.swap_memory().total)
    except (OSError, RuntimeError):
        return 0


def process_memory(status: Path = Path("/proc/self/status")) -> ProcessMemory:
    """This process's memory now; exact to a few hundred KiB (the kernel batches its counters)."""
    fields = _kib_fields(status)
    if "RssAnon" not in fields:
        return _portable_process_memory()
    kinds = [fields.get(name, 0) for name in ("RssAnon", "RssFile", "RssShmem")]
    return ProcessMemory(kinds[0], kinds[1], kinds[2], max(fields.get("VmHWM", 0), sum(kinds)))


def touched_bytes(thread: int | None, root: Path = Path("/")) -> int:
    """Most that a thread of this process, by the system's number, can have added to its memory: a page, small
    or huge, for each page fault. 0 where it has ended; without bound where the system does not tell."""
    tasks, huge = root / "proc/self/task", root / "sys/kernel/mm/transparent_hugepage/enabled"
    if not tasks.is_dir():
        return sys.maxsize
    try:
        faults = int((tasks / str(thread) / "stat").read_text().rpartition(")")[2].split()[7])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    always = huge.is_file() and "[always]" in huge.read_text()
    return faults * (_HUGE_PAGE_BYTES if always else mmap.PAGESIZE)


def give_back() -> None:
    """What glibc keeps of memory freed before goes to the system: the plan counts what the process holds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _portable_process_memory() -> ProcessMemory:
    info = psutil.Process().memory_info()
    return ProcessMemory(info.rss, 0, 0, int(getattr(info, "peak_wset", info.rss)))


def _meminfo(root: Path) -> tuple[int, int]:
    """(installed, available) bytes."""
    fields = _kib_fields(root / "proc/meminfo")
    if "MemAvailable" in fields and "MemTotal" in fields:
        return fields["MemTotal"], fields["MemAvailable"]
    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)


def _kib_fields(path: Path) -> dict[str, int]:
    """Bytes by name from lines of `Name:  123 kB`; empty where there is no such file."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    words = (line.split() for line in lines)
    return {
        w[0].rstrip(":"): int(w[1]) * 1024 for w in words if len(w) == 3 and w[1].isdecimal() and w[2] == "kB"
    }
