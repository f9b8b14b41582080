"""The processor: its name, the cores this process may use, the instruction sets the kernels know."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from sixgig.hardware.cores import usable_cores
from sixgig.hardware.machine import Cpu
from sixgig.hardware.sysfs import fact

# What decides which of ggml's kernels run; other flags are noise.
_X86 = {"sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "bmi2", "avx512f", "avx512bw", "avx512vl"}
_X86_DOT = {"avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8"}
_ARM = {"asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2", "sme"}


def this_processor(root: Path = Path("/")) -> Cpu:
    """The processor now. `root` holds proc/ and sys/."""
    fields = cpuinfo(root)
    usable = usable_cores(root)
    return Cpu(
        # ARM's /proc/cpuinfo has no name; its board has: "Raspberry Pi 5 Model B Rev 1.0".
        name=fields.get("model name")
        or fact(root / "proc/device-tree/model")
        or _brand()
        or platform.machine()
        or "unknown",
        architecture=platform.machine(),
        cores=usable.performance,
        logical_cores=usable.logical,
        isa=tuple(sorted(flags(root) & (_X86 | _X86_DOT | _ARM))),
    )


def cpuinfo(root: Path = Path("/")) -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo; empty elsewhere than on Linux."""
    try:
        first = (root / "proc/cpuinfo").read_text(errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def flags(root: Path = Path("/")) -> set[str]:
    """What the kernel says the processor can; "hypervisor" among them in a virtual machine."""
    fields = cpuinfo(root)
    return set(fields.get("flags", fields.get("Features", "")).split())


def cache_bytes(root: Path = Path("/")) -> int | None:
    """All processor caches together, each counted once; None where the system does not tell."""
    sizes: dict[tuple[str, str, str], int] = {}
    for index in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cache/index[0-9]*")):
        level, kind, shared = (fact(index / name) for name in ("level", "type", "shared_cpu_list"))
        sizes[level, kind, shared] = _kib(fact(index / "size"))
    return sum(sizes.values()) or None


def _kib(text: str) -> int:
    """Bytes in sysfs's "512K"."""
    return int(text[:-1]) * 1024 if text[:-1].isdecimal() and text.endswith("K") else 0


def _brand() -> str:
    """What macOS calls the processor, "Apple M3 Max"; elsewhere what Python knows."""
    if platform.system() != "Darwin":
        return platform.processor()
    try:
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return platform.processor()
