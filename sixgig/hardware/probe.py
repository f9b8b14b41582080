"""One probe of this machine: quick facts, nothing measured, and never an error for what it lacks."""

from __future__ import annotations

import platform
from pathlib import Path

from sixgig.hardware.disks import disk_under, models_folder
from sixgig.hardware.gpus import probe_gpus
from sixgig.hardware.machine import Machine, Memory
from sixgig.hardware.memory import machine_memory, swap_bytes
from sixgig.hardware.meters import energy_meters
from sixgig.hardware.processor import this_processor


def probe(root: Path = Path("/"), disk_path: Path | None = None) -> Machine:
    """This machine now. `root` holds proc/ and sys/; disk_path: where models will be read from."""
    cpu, memory = this_processor(root), _memory(root)
    gpus, remarks = probe_gpus(root, memory.ram_bytes, memory.available_bytes, cpu.name)
    return Machine(
        name="this machine",  # no host name: files that people share are written from this
        origin="probed",
        os=f"{platform.system()} {platform.release()}".strip() or "unknown",
        cpu=cpu,
        memory=memory,
        disk=disk_under(disk_path or models_folder(), root),
        gpus=gpus,
        meters=energy_meters(root),
        remarks=remarks,
    )


def _memory(root: Path) -> Memory:
    found = machine_memory(root)
    available = min(found.available_bytes, found.ram_bytes)
    return Memory(found.ram_bytes, available, found.cgroup_limit_bytes, swap_bytes(root))
