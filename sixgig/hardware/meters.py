"""Energy counters: which there are, and why one cannot be read. Reads nothing over time."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any, Literal

from sixgig.hardware.machine import Absent, Meter
from sixgig.hardware.nvml import Nvml, open_nvml
from sixgig.hardware.processor import flags
from sixgig.hardware.sysfs import fact

ROOT_ONLY = Absent("root only (CVE-2020-8694)")


def energy_meters(root: Path = Path("/")) -> tuple[Meter, ...]:
    """The processor's counters (RAPL), then each NVIDIA GPU's. Where there is none an entry says why."""
    with open_nvml() as nvml:
        gpus = () if isinstance(nvml, Absent) else tuple(_gpu(nvml, handle) for handle in nvml.devices())
    return _processor(root) + gpus


def _processor(root: Path) -> tuple[Meter, ...]:
    """RAPL's zones, on AMD's processors under the same name. "core" is a part of "package", "dram" is not."""
    zones = sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
    meters = tuple(
        Meter(f"RAPL {fact(zone / 'name') or zone.name}", _readable(zone / "energy_uj")) for zone in zones
    )
    return meters or (Meter("RAPL", Absent(_why_none(root))),)


def _readable(counter: Path) -> Literal["joules"] | Absent:
    try:
        counter.read_text()
    except PermissionError:
        return ROOT_ONLY
    except OSError as error:
        return Absent(f"the counter does not read: {error.strerror}")
    return "joules"


def _why_none(root: Path) -> str:
    if platform.system() != "Linux":
        return f"sixgig reads no energy counter on {platform.system()}"
    if "hypervisor" in flags(root):
        return "none is passed on to this virtual machine"
    return "none in this machine, or its kernel module (intel_rapl_common) is not loaded"


def _gpu(nvml: Nvml, handle: Any) -> Meter:
    """Joules since the driver was loaded (Volta and later), or the power of the moment."""
    name = nvml.ask("nvmlDeviceGetName", handle)
    name = "NVIDIA GPU" if isinstance(name, Absent) else str(name)
    energy, power = (
        nvml.ask(query, handle)
        for query in ("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage")
    )
    if not isinstance(energy, Absent):
        return Meter(name, "joules")
    return Meter(name, energy if isinstance(power, Absent) else "watts")
