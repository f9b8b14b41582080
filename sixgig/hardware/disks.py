"""The disk under a path: which device, which file system, how much is free."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import psutil

from sixgig.hardware.machine import Absent, Disk
from sixgig.hardware.sysfs import fact
from sixgig.units import format_bytes

_SECTOR_BYTES = 512  # sysfs counts in these whatever the device's own sectors are
# A virtual disk says "rotating" by default: the flag tells nothing about what is behind it.
_VIRTUAL = re.compile(r"/(virtio|vmbus|xen|vbd)[^/]*/|/virtual/block/(?!dm-|md)")


def models_folder() -> Path:
    """Where models are read from unless somebody says otherwise: the hub's cache, or home, or here."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = [Path(HF_HUB_CACHE), Path(os.path.expanduser("~")), Path.cwd()]
    return next((folder for folder in folders if folder.is_dir()), Path("/"))


def disk_under(path: Path, root: Path = Path("/")) -> Disk | Absent:
    """The disk that holds `path`, unmeasured; Absent with the reason where that cannot be found out.

    rotating: the kernel's word, which a virtual disk does not know: those count as not rotating.
    """
    try:
        real = path.resolve(strict=True)
        number, free_bytes = os.stat(real).st_dev, shutil.disk_usage(real).free
    except (OSError, ValueError) as error:
        return Absent(f"{path}: {getattr(error, 'strerror', None) or error}")
    source, file_system = _mount(real)
    block = _block_folder(number, source, root)
    if block is None:
        return Disk(source, file_system, False, free_bytes)
    return Disk(_device(block), file_system, _rotates(block), free_bytes)


def _mount(path: Path) -> tuple[str, str]:
    """(device, file system type) of the longest mount point above; a later mount hides an earlier one."""
    try:
        partitions = psutil.disk_partitions(all=True)
    except OSError:
        return "unknown", "unknown"
    above = [part for part in partitions if path.is_relative_to(part.mountpoint)]
    if not above:
        return "unknown", "unknown"
    longest = max(len(part.mountpoint) for part in above)
    part = [part for part in above if len(part.mountpoint) == longest][-1]
    return part.device or part.fstype, part.fstype or "unknown"


def _block_folder(number: int, source: str, root: Path) -> Path | None:
    """The whole disk's folder in sysfs; None for what has none: network, memory, layered file systems."""
    by_number = root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    by_name = root / "sys/class/block" / (Path(source).name if source.startswith("/dev/") else "-")
    for link in (by_number, by_name):
        if link.exists():
            folder = link.resolve()
            return _beneath(folder.parent if (folder / "partition").exists() else folder)
    return None


def _beneath(block: Path) -> Path:
    """The disk below encryption or logical volumes, where it is one."""
    for _ in range(8):
        slaves = list((block / "slaves").glob("*"))
        if len(slaves) != 1:
            break
        below = slaves[0].resolve()
        block = below.parent if (below / "partition").exists() else below
    return block


def _device(block: Path) -> str:
    """Model and size, "Samsung SSD 970 EVO 1TB, 931.51 GiB"; the kernel's name where no model is told."""
    vendor, model = fact(block / "device/vendor"), fact(block / "device/model")
    vendor = "" if vendor.startswith("0x") else vendor  # virtio gives a bare PCI number
    name = f"{vendor} {model}".strip() or fact(block / "device/name") or block.name
    sectors = fact(block / "size")
    size = f", {format_bytes(int(sectors) * _SECTOR_BYTES)}" if sectors.isdecimal() else ""
    return name + size


def _rotates(block: Path) -> bool:
    return fact(block / "queue/rotational") == "1" and not _VIRTUAL.search(f"{block}/")
