"""What was measured here, remembered between runs: disk, memory, kernels, each under what identifies it.

Each is kept with the conditions it was taken under. One that was disturbed is taken again as soon as the
machine is calm, and a worse one never replaces a better.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import platformdirs

from sixgig.atomic import replace_file
from sixgig.errors import UsageError
from sixgig.hardware.conditions import CALM, DISTURBED, Conditions, Resource, Watch, look
from sixgig.hardware.disks import models_folder
from sixgig.hardware.machine import Absent, Cpu, Disk, Kernels, Machine, Memory
from sixgig.hardware.measuring import DiskReads, measure_disk, measure_memory
from sixgig.hardware.validation import parse_json, validated

Kind = Literal["disks", "memory", "kernels"]
_RESOURCE: dict[Kind, Resource] = {"disks": "disk", "memory": "processors", "kernels": "processors"}
FORMAT = "sixgig measurements 2"  # 1 did not say under what conditions
_CLEARLY = 1.5  # times as disturbed
_LARGEST_FILE = 1 << 20


@dataclass
class _Record:
    """The cache file's content: by identity, as JSON values. Checked when an entry is used.

    conditions: of each entry, by kind and identity.
    """

    disks: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    kernels: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)

    def disturbance(self, kind: Kind, key: str) -> float:
        """How much was taken from an entry while it was measured."""
        return self.conditions_of(kind, key).taken_from(_RESOURCE[kind])

    def conditions_of(self, kind: Kind, key: str) -> Conditions:
        """The entry's; calm where nothing is said."""
        found = self.conditions.get(f"{kind}: {key}")
        return (_entry(Conditions, found) or CALM) if found is not None else CALM

    def keep(self, kind: Kind, key: str, value: object, conditions: Conditions) -> bool:
        """Put a new measurement in, unless one of clearly calmer conditions is known; whether it was."""
        entries: dict[str, Any] = getattr(self, kind)
        limit = max(DISTURBED, _CLEARLY * self.disturbance(kind, key))
        if key in entries and conditions.taken_from(_RESOURCE[kind]) > limit:
            return False
        entries[key] = value
        self.conditions[f"{kind}: {key}"] = asdict(conditions)
        return True


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
    check: Callable[[], object] = lambda: None,
) -> Machine:
    """The machine with memory and disk measured: what is not known yet or was disturbed, or all of it
    `again`; remembered.

    disk_path: a large file, or a folder to write one in for the moment; by default where models are read
    from. What cannot be measured stays Absent with the reason. `announce` is told before each measurement;
    `check` is called now and then, and raises Cancelled to end them.
    """
    known, record = remembered(machine), _read()
    memory, disk, key = known.memory, known.disk, _memory_key(machine)
    if again or isinstance(memory.bandwidth_bytes_per_s, Absent) or _is_worth_again(record, "memory", key):
        check()
        announce("measuring memory ...")
        watch = Watch()
        rate = measure_memory(known.cpu.cores, memory.available_bytes)
        found = replace(memory, bandwidth_bytes_per_s=rate)
        if _is_kept(record, "memory", key, rate, _rates_only(found), watch):
            memory = found
    if isinstance(disk, Disk):
        key = _disk_key(disk)
        if again or isinstance(disk.reads, Absent) or _is_worth_again(record, "disks", key):
            announce("measuring the disk ...")
            watch = Watch()
            read = _with_reads(disk, measure_disk(disk_path or models_folder(), check=check))
            if _is_kept(record, "disks", key, read.reads, read, watch):
                disk = read
    if record != _read():
        _write(record)
    return replace(known, memory=memory, disk=disk)


def kernels_are_due(machine: Machine) -> bool:
    """Whether the kernels' speeds are not known, or were disturbed and can be measured better now."""
    if isinstance(machine.kernels, Absent):
        return True
    return _is_worth_again(_read(), "kernels", _kernels_key(machine.cpu, machine.kernels.engine))


def remember_kernels(machine: Machine, kernels: Kernels, conditions: Conditions = CALM) -> Machine:
    """The machine with these kernel speeds, or with better ones that are known.

    Later runs will find them under processor and engine build.
    """
    record, key = _read(), _kernels_key(machine.cpu, kernels.engine)
    if not record.keep("kernels", key, asdict(kernels), conditions):
        return replace(machine, kernels=_entry(Kernels, record.kernels[key]) or kernels)
    _write(record)
    return replace(machine, kernels=kernels)


def disturbances(machine: Machine) -> tuple[str, ...]:
    """Of what is known of this machine, what was measured under bad conditions, a line each."""
    record = _read()
    keys: list[tuple[Kind, str, str]] = [("memory", "memory was", _memory_key(machine))]
    if isinstance(machine.disk, Disk):
        keys.append(("disks", "the disk was", _disk_key(machine.disk)))
    if isinstance(machine.kernels, Kernels):
        keys.append(("kernels", "kernels were", _kernels_key(machine.cpu, machine.kernels.engine)))
    return tuple(
        f"while {name} measured, {record.conditions_of(kind, key).explain(_RESOURCE[kind])}"
        for kind, name, key in keys
        if record.disturbance(kind, key) >= DISTURBED
    )


def _is_worth_again(record: _Record, kind: Kind, key: str) -> bool:
    """Whether a known measurement was disturbed, and nothing disturbs now."""
    return record.disturbance(kind, key) >= DISTURBED and look().taken_from(_RESOURCE[kind]) < DISTURBED


def _is_kept(
    record: _Record, kind: Kind, key: str, rates: object, value: Memory | Disk, watch: Watch
) -> bool:
    """Whether a new measurement is the one to go by: one that failed stands for itself."""
    return isinstance(rates, Absent) or record.keep(kind, key, asdict(value), watch.conditions())


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
    return f"{disk.device}, {disk.file_system}, {platform.node()}"


def _memory_key(machine: Machine) -> str:
    cpu = machine.cpu  # the size is rounded: what a kernel keeps for itself changes with its version
    return f"{cpu.name}, {cpu.cores} cores, {round(machine.memory.ram_bytes / 2**30)} GiB"


def _kernels_key(cpu: Cpu, engine: str) -> str:
    return f"{cpu.name}, {' '.join(cpu.isa)}, {cpu.cores} cores, engine {engine}"


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
    parts = [document.get(field.name) for field in fields(_Record)]
    return _Record(*(part if isinstance(part, dict) else {} for part in parts))


def _write(record: _Record) -> None:
    """Best effort: a cache that cannot be written must not stop anything."""
    try:
        cache_path().parent.mkdir(parents=True, exist_ok=True)
        replace_file(cache_path(), json.dumps({"format": FORMAT, **asdict(record)}, indent=1))
    except (OSError, ValueError):
        return
