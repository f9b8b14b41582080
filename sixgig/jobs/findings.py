"""What a machine's facts mean for running models on it: each finding with its cure. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sixgig.hardware import Absent, Cpu, Disk, Gpu, Machine, Memory, Meter
from sixgig.jobs.engine_builds import EngineFacts, build_for, driver_cure, driver_fault
from sixgig.units import format_bytes, format_rate

Level = Literal["ok", "note", "problem"]
GIB = 1 << 30
SLOW_DISK, VERY_SLOW_DISK = (
    1e9,
    0.3e9,
)  # bytes/s; a large model's experts for one token are 1 to 2 GB, uncached
JUDGED_BLOCK = 1 << 20
LITTLE_MEMORY, LITTLE_SPACE = 2 * GIB, 20 * GIB
_NETWORK = ("nfs", "cifs", "smb", "9p", "ceph", "glusterfs", "lustre", "fuse.sshfs", "afs", "virtiofs")
_IN_MEMORY = ("tmpfs", "ramfs")
_NATIVE_GAIN = "18 to 27% faster on a Zen 4 processor"  # measured: docs and LOG.md
_RAPL = "/sys/class/powercap/intel-rapl:*/energy_uj"


@dataclass(frozen=True)
class Finding:
    """One thing found. cure: what to do about it, "" where there is nothing to do."""

    topic: str
    level: Level
    text: str
    cure: str = ""


def findings(machine: Machine, engine: EngineFacts) -> tuple[Finding, ...]:
    """Everything worth saying, topic by topic; a topic without trouble has one finding that says so."""
    return (
        *_of_engine(engine),
        *_of_processor(machine.cpu, engine),
        *_of_memory(machine.memory),
        *_of_disk(machine.disk),
        *_of_gpus(machine, engine),
        *(_of_meter(meter) for meter in machine.meters),
    )


def _of_engine(engine: EngineFacts) -> Iterator[Finding]:
    if engine.fault:
        yield Finding("engine", "problem", engine.fault, engine.cure)
    else:
        yield Finding("engine", "ok", f"{engine.requirement} loads and is laid out as expected")


def _of_processor(cpu: Cpu, engine: EngineFacts) -> Iterator[Finding]:
    source = f"build {engine.requirement} from source on this machine (its README: Build from Source)"
    if cpu.architecture in ("x86_64", "AMD64") and cpu.isa and "avx2" not in cpu.isa:
        yield Finding(
            "processor", "problem", "it has no AVX2, which the engine's wheel is compiled for", source
        )
    elif "avx512f" in cpu.isa:
        text = f"it has AVX-512, the engine's wheel uses AVX2 only; a build for it was {_NATIVE_GAIN}"
        yield Finding("processor", "note", text, source)
    elif {"i8mm", "asimddp"} & set(cpu.isa):
        text = "the engine's wheel for Linux uses plain ARMv8-A; this processor has dot products besides"
        yield Finding("processor", "note", text, source)
    else:
        yield Finding("processor", "ok", f"{cpu.cores} cores to compute with")


def _of_memory(memory: Memory) -> Iterator[Finding]:
    troubles = [*_limits(memory), *_swapping(memory)]
    if isinstance(memory.bandwidth_bytes_per_s, Absent):
        why = memory.bandwidth_bytes_per_s.reason
        troubles.append(Finding("memory", "note", f"its bandwidth is unknown: {why}"))
    ok = Finding("memory", "ok", f"{format_bytes(memory.available_bytes)} may be taken now")
    yield from troubles or [ok]


def _limits(memory: Memory) -> Iterator[Finding]:
    limit, ram = memory.cgroup_limit_bytes, memory.ram_bytes
    if limit is not None and limit < ram:
        text = f"a control group limits this process to {format_bytes(limit)} of {format_bytes(ram)}"
        yield Finding(
            "memory", "note", text, "raise it (docker --memory, systemd MemoryMax) if that is not meant"
        )
    usable = min(ram, limit or ram)
    if memory.available_bytes < min(LITTLE_MEMORY, usable / 4):
        text = f"{format_bytes(memory.available_bytes)} of {format_bytes(usable)} are available"
        yield Finding(
            "memory", "problem", text, "close other programs; every GiB more is experts not read again"
        )


def _swapping(memory: Memory) -> Iterator[Finding]:
    if memory.swap_bytes:
        text = f"{format_bytes(memory.swap_bytes)} of swap: under pressure weights go there and come back"
        cure = "leave the system room beside --ram, or: sudo sysctl vm.swappiness=1, or: sudo swapoff -a"
        yield Finding("memory", "note", text, cure)


def _of_disk(disk: Disk | Absent) -> Iterator[Finding]:
    if isinstance(disk, Absent):
        yield Finding(
            "disk", "problem", f"nothing is known about it: {disk.reason}", "name a folder with --disk"
        )
        return
    ok = Finding("disk", "ok", f"{_rate_words(disk)} with direct reads of 1 MiB, four at a time")
    yield from [*_kind_of_disk(disk), *_speed_of_disk(disk), *_space(disk)] or [ok]


def _kind_of_disk(disk: Disk) -> Iterator[Finding]:
    elsewhere = "keep models on a local solid-state disk"
    if disk.rotating:
        yield Finding(
            "disk", "problem", "it rotates: each expert that is not in memory costs a seek", elsewhere
        )
    if disk.file_system.startswith(_NETWORK):
        text = f"{disk.file_system} is a network file system: each token waits for the network"
        yield Finding("disk", "note", text, elsewhere)
    if disk.file_system in _IN_MEMORY:
        text = f"{disk.file_system} lies in memory: a model there takes the memory that its experts need"
        yield Finding("disk", "note", text, elsewhere)


def _speed_of_disk(disk: Disk) -> Iterator[Finding]:
    rate = disk.bytes_per_s(JUDGED_BLOCK)
    if isinstance(rate, Absent):
        yield Finding("disk", "note", f"its speed is unknown: {rate.reason}", "name a large file with --disk")
        return
    if rate < SLOW_DISK:
        level: Level = "problem" if rate < VERY_SLOW_DISK else "note"
        text = f"{_rate_words(disk)} with reads of 1 MiB; it will set the speed of models larger than memory"
        yield Finding("disk", level, text, "keep models on an NVMe disk (2 to 7 GB/s), or give --ram more")
    if not disk.direct:
        text = (
            f"{disk.file_system} takes no direct reads: they pass through the page cache, which may flatter"
        )
        yield Finding(
            "disk", "note", text, "" if disk.file_system == "apfs" else "keep models on ext4 or xfs"
        )


def _space(disk: Disk) -> Iterator[Finding]:
    if disk.free_bytes < LITTLE_SPACE:
        text = f"{format_bytes(disk.free_bytes)} are free: models that need paging are larger"
        yield Finding("disk", "note", text, "make room, or keep models elsewhere: HF_HOME names the folder")


def _rate_words(disk: Disk) -> str:
    rate = disk.bytes_per_s(JUDGED_BLOCK)
    return "unknown" if isinstance(rate, Absent) else format_rate(rate)


def _of_gpus(machine: Machine, engine: EngineFacts) -> Iterator[Finding]:
    yield from (_of_gpu(gpu, engine) for gpu in machine.gpus)
    yield from (Finding("machine", "note", remark) for remark in machine.remarks)
    if not machine.gpus and not machine.remarks:
        yield Finding("GPU", "ok", "none: the processor computes everything")


def _of_gpu(gpu: Gpu, engine: EngineFacts) -> Finding:
    words = f"{gpu.name}, {format_bytes(gpu.memory_bytes)}"
    if isinstance(gpu.engine_device, str):
        return Finding("GPU", "ok", f"{words}: the engine knows it as {gpu.engine_device}")
    build = build_for(gpu)
    fault = driver_fault(gpu, build)
    if fault:
        return Finding("GPU", "problem", f"{words}: {fault}", driver_cure(gpu, build))
    reason = gpu.engine_device.reason.partition(";")[0]
    text = f"{words}: {reason}. The {build.kind} build suits it and needs {build.needs}"
    return Finding("GPU", "note", text, build.install(engine.requirement))


def _of_meter(meter: Meter) -> Finding:
    if not isinstance(meter.reads, Absent):
        return Finding("energy", "ok", f"{meter.name} gives {meter.reads}")
    text = f"{meter.name}: {meter.reads.reason}; joules will be missing, not guessed"
    if "root only" not in meter.reads.reason:
        return Finding("energy", "note", text)
    cure = f"sudo chmod a+r {_RAPL} (until the next boot; other users could then spy on timings through it)"
    return Finding("energy", "note", text, cure)
