"""What was measured here, remembered between runs: disk, memory, kernels, each under what identifies it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import platformdirs

from sixgig.atomic import replace_file
from sixgig.errors import UsageError
from sixgig.hardware.disks import models_folder
from sixgig.hardware.machine import Absent, Cpu, Disk, Kernels, Machine, Memory
from sixgig.hardware.measuring import DiskReads, measure_disk, measure_memory
from sixgig.hardware.validation import parse_json, validated

FORMAT = "sixgig measurements 1"
_LARGEST_FILE = 1 << 20


@dataclass
class _Record:
    """The cache file's content: by identity, as JSON values. Checked when an entry is used."""

    disks: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    kernels: dict[str, Any] = field(default_factory=dict)


def cache_path() -> Path:
    """Where measurements are kept: measurements.json in the user's cache folder for sixgig."""
    return Path(platformdirs.user_cache_dir("sixgig")) / "measurements.json"


def remembered(machine: Machine, engine: str | None = None) -> Machine:
    """The machine with what earlier runs measured on it; kernels only for the engine build named."""
    record = _read()
    machine = replace(machine, memory=_known_memory(machine, record), disk=_known_disk(machine.disk, record))
    if engine is None:
        return machine
    kernels = _entry(Kernels, record.kernels.get(_kernels_key(machine.cpu, engine)))
    return machine if kernels is None else replace(machine, kernels=kernels)


def measured(
    machine: Machine,
    disk_path: Path | None = None,
    again: bool = False,
    announce: Callable[[str], object] = lambda text: None,
) -> Machine:
    """The machine with memory and disk measured: what is not known yet, or all of it `again`; remembered.

    disk_path: a large file, or a folder to write one in for the moment; by default where models are read
    from. What cannot be measured stays Absent with the reason. `announce` is told before each measurement.
    """
    known = remembered(machine)
    memory, disk = known.memory, known.disk
    if again or isinstance(memory.bandwidth_bytes_per_s, Absent):
        announce("measuring memory ...")
        rate = measure_memory(known.cpu.cores, memory.available_bytes)
        memory = replace(memory, bandwidth_bytes_per_s=rate)
    if isinstance(disk, Disk) and (again or isinstance(disk.reads, Absent)):
        announce("measuring the disk ...")
        disk = _with_reads(disk, measure_disk(disk_path or models_folder()))
    found = replace(known, memory=memory, disk=disk)
    if found != known:
        _remember(found)
    return found


def remember_kernels(machine: Machine, kernels: Kernels) -> Machine:
    """The machine with these kernel speeds, which later runs will find under processor and engine build."""
    record = _read()
    record.kernels[_kernels_key(machine.cpu, kernels.engine)] = asdict(kernels)
    _write(record)
    return replace(machine, kernels=kernels)


def _remember(machine: Machine) -> None:
    record = _read()
    if not isinstance(machine.memory.bandwidth_bytes_per_s, Absent):
        record.memory[_memory_key(machine)] = asdict(_rates_only(machine.memory))
    if isinstance(machine.disk, Disk) and not isinstance(machine.disk.reads, Absent):
        record.disks[_disk_key(machine.disk)] = asdict(machine.disk)
    _write(record)


def _with_reads(disk: Disk, found: DiskReads | Absent) -> Disk:
    if isinstance(found, Absent):
        return replace(disk, reads=found)
    return replace(disk, reads=found.rates, direct=found.direct)


def _rates_only(memory: Memory) -> Memory:
    """Without what is different at every run."""
    return replace(memory, available_bytes=0, cgroup_limit_bytes=None, swap_bytes=0)


def _known_memory(machine: Machine, record: _Record) -> Memory:
    known = _entry(Memory, record.memory.get(_memory_key(machine)))
    if known is None:
        return machine.memory
    return replace(machine.memory, bandwidth_bytes_per_s=known.bandwidth_bytes_per_s)


def _known_disk(disk: Disk | Absent, record: _Record) -> Disk | Absent:
    known = _entry(Disk, record.disks.get(_disk_key(disk))) if isinstance(disk, Disk) else None
    if known is None or isinstance(disk, Absent):
        return disk
    return replace(disk, reads=known.reads, direct=known.direct)


def _disk_key(disk: Disk) -> str:
    return f"{disk.device}, {disk.file_system}"


def _memory_key(machine: Machine) -> str:
    cpu = machine.cpu  # the size is rounded: what a kernel keeps for itself changes with its version
    return f"{cpu.name}, {cpu.cores} cores, {round(machine.memory.ram_bytes / 2**30)} GiB"


def _kernels_key(cpu: Cpu, engine: str) -> str:
    return f"{cpu.name}, {cpu.cores} cores, engine {engine}"


def _entry(kind: type, value: Any) -> Any:
    """The entry, or None where there is none or somebody has damaged it."""
    try:
        return None if value is None else validated(kind, value, "measurements")
    except UsageError:
        return None


def _read() -> _Record:
    """The record; an empty one where there is none, or where it is not ours or damaged."""
    try:
        with cache_path().open("rb") as file:
            document = parse_json(file.read(_LARGEST_FILE))
    except (OSError, ValueError):
        return _Record()
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        return _Record()
    parts = [document.get(name) for name in ("disks", "memory", "kernels")]
    return _Record(*(part if isinstance(part, dict) else {} for part in parts))


def _write(record: _Record) -> None:
    """Best effort: a cache that cannot be written must not stop anything."""
    try:
        cache_path().parent.mkdir(parents=True, exist_ok=True)
        replace_file(cache_path(), json.dumps({"format": FORMAT, **asdict(record)}, indent=1))
    except (OSError, ValueError):
        return
