"""One probe of this machine, frozen."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from sixgig.hardware.cgroup import processor_quota
from sixgig.hardware.memory import machine_memory

# What decides which of ggml's kernels run; other flags are noise.
_X86 = {"sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "bmi2", "avx512f", "avx512bw", "avx512vl"}
_X86_DOT = {"avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8"}
_ARM = {"asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2", "sme"}


@dataclass(frozen=True)
class Machine:
    """cores: physical ones this process may use, by affinity and quota; what to run compute threads on.

    isa: instruction sets that matter to the kernels, empty where the system does not tell.
    available_bytes: at the time of the probe, under every limit.
    """

    os: str
    architecture: str
    cpu: str
    cores: int
    logical_cores: int
    isa: tuple[str, ...]
    ram_bytes: int
    available_bytes: int
    cgroup_limit_bytes: int | None

    def to_json(self) -> dict[str, object]:
        """Plain values by field name."""
        return {**asdict(self), "isa": list(self.isa)}


def probe(root: Path = Path("/")) -> Machine:
    """This machine now. `root` holds proc/ and sys/."""
    memory = machine_memory(root)
    names = _cpuinfo(root)
    logical, quota = _usable_processors(), processor_quota(root)
    flags = set(names.get("flags", names.get("Features", "")).split())
    return Machine(
        os=f"{platform.system()} {platform.release()}".strip(),
        architecture=platform.machine(),
        cpu=names.get("model name") or platform.processor() or platform.machine(),
        cores=_cores(logical, _threads_per_core(), quota),
        logical_cores=logical,
        isa=tuple(sorted(flags & (_X86 | _X86_DOT | _ARM))),
        ram_bytes=memory.ram_bytes,
        available_bytes=memory.available_bytes,
        cgroup_limit_bytes=memory.cgroup_limit_bytes,
    )


def _cores(logical: int, threads_per_core: int, quota: float | None) -> int:
    physical = max(1, logical // threads_per_core)
    return physical if quota is None else max(1, min(physical, math.ceil(quota)))


def _usable_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads_per_core() -> int:
    """Hardware threads per physical core; 1 where the system does not tell."""
    physical, logical = psutil.cpu_count(logical=False), psutil.cpu_count()
    return max(1, (logical or 1) // physical) if physical else 1


def _cpuinfo(root: Path) -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo; empty elsewhere than on Linux."""
    try:
        first = (root / "proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
