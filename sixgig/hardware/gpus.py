"""GPUs: what drivers and sysfs tell, and what the engine can use of it."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sixgig.hardware.machine import Absent, Gpu, Vendor
from sixgig.hardware.nvml import Nvml, open_nvml
from sixgig.hardware.sysfs import fact

# Bytes per second and lane in one direction, after the line code.
_LANE_BYTES_PER_S = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.563e9}
# What copies from pinned memory reach of that: packet headers and flow control take the rest.
_LINK_EFFICIENCY = 0.8
_GENERATION_BY_GT = {"2.5": 1, "5": 2, "5.0": 2, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6}
_VENDORS: dict[str, Vendor] = {"0x1002": "amd", "0x8086": "intel", "0x10de": "nvidia"}
_LABELS: dict[Vendor, str] = {"amd": "AMD GPU", "intel": "Intel GPU", "nvidia": "NVIDIA GPU"}
_WORDS: tuple[tuple[Vendor, str], ...] = (
    ("nvidia", r"nvidia|geforce|quadro|tesla|\brtx\b|\bgtx\b"),
    ("amd", r"\bamd\b|radeon|instinct|\bradv\b"),
    ("intel", r"intel|\barc\b|\biris\b|\buhd\b"),
    ("apple", r"apple|\bm[1-9]\b"),
)
_CPU_ONLY = Absent(
    "the installed engine build computes on the CPU only; sixgig doctor names the build that suits"
)
_NOT_SEEN = Absent("the installed engine build does not see it; sixgig doctor names the build that suits")
_SHARED_LINK = Absent("it shares the machine's memory: nothing is copied over a link")
_SHARED_BANDWIDTH = Absent("it reads the machine's memory")


@dataclass(frozen=True)
class EngineDevice:
    """A device as the engine lists it. name: "CUDA0"; description: what its driver calls the card."""

    name: str
    description: str
    kind: Literal["gpu", "igpu"]
    memory_bytes: int
    free_bytes: int


def probe_gpus(
    root: Path = Path("/"), ram_bytes: int = 0, available_bytes: int = 0, cpu: str = ""
) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """(GPUs, remarks on cards that are there but do not tell what a plan needs).

    `root` holds sys/; the rest describes the machine's own memory and processor, for a GPU that shares them.
    """
    with open_nvml() as nvml:
        nvidia = () if isinstance(nvml, Absent) else _nvidia(nvml)
        silent = nvml.reason if isinstance(nvml, Absent) else "its driver tells no memory size"
    cards, remarks = _cards(root, "" if nvidia else silent)
    return nvidia + cards + _apple(ram_bytes, available_bytes, cpu), remarks


def link_bytes_per_s(generation: int | None, lanes: int | None) -> float | Absent:
    """What a PCIe link gives in one direction: nominal, times the 0.8 that copies of pinned memory reach."""
    if generation not in _LANE_BYTES_PER_S or not lanes:
        return Absent("the driver does not tell the link's generation and lanes")
    return _LANE_BYTES_PER_S[generation] * lanes * _LINK_EFFICIENCY


def from_engine_devices(devices: Sequence[EngineDevice]) -> tuple[Gpu, ...]:
    """GPUs that only the engine knows. One that tells no memory is left out: nothing can be planned on it."""
    return tuple(_from_engine(device) for device in devices if device.memory_bytes > 0)


def merge_engine_devices(gpus: tuple[Gpu, ...], devices: Sequence[EngineDevice]) -> tuple[Gpu, ...]:
    """The same GPUs with the name the engine has for each, or why it has none; then those only it knows.

    A card matches by name, then, where only sysfs named it, by vendor and size. Each device matches once.
    """
    left = list(devices)
    merged = list(gpus)
    for matches in (_same_name, _same_size, _same_vendor_shared):
        for index, gpu in enumerate(merged):
            device = next((device for device in left if matches(gpu, device)), None)
            if device is not None and isinstance(gpu.engine_device, Absent):
                left.remove(device)
                merged[index] = _used_by_engine(gpu, device)
    missing = _NOT_SEEN if devices else _CPU_ONLY
    known = [
        gpu if isinstance(gpu.engine_device, str) else replace(gpu, engine_device=missing) for gpu in merged
    ]
    return (*known, *from_engine_devices(left))


def _nvidia(nvml: Nvml) -> tuple[Gpu, ...]:
    gpus = (_nvidia_gpu(nvml, handle) for handle in nvml.devices())
    return tuple(gpu for gpu in gpus if gpu is not None)


def _nvidia_gpu(nvml: Nvml, handle: Any) -> Gpu | None:
    """None where the driver tells no memory size, as where the GPU shares the machine's."""
    memory = nvml.ask("nvmlDeviceGetMemoryInfo", handle)
    if isinstance(memory, Absent):
        return None
    name = nvml.ask("nvmlDeviceGetName", handle)
    capability = nvml.ask("nvmlDeviceGetCudaComputeCapability", handle)
    generation = _known(nvml.ask("nvmlDeviceGetMaxPcieLinkGeneration", handle))
    lanes = _known(nvml.ask("nvmlDeviceGetMaxPcieLinkWidth", handle))
    return Gpu(
        name=_known(name) or _LABELS["nvidia"],
        vendor="nvidia",
        memory_bytes=int(memory.total),
        free_bytes=min(int(memory.free), int(memory.total)),
        compute_capability=None if isinstance(capability, Absent) else "{}.{}".format(*capability),
        driver=_known(nvml.ask("nvmlSystemGetDriverVersion")),
        pcie_generation=generation,
        pcie_lanes=lanes,
        bandwidth_bytes_per_s=_nvidia_bandwidth(nvml, handle),
        link_bytes_per_s=link_bytes_per_s(generation, lanes),
    )


def _nvidia_bandwidth(nvml: Nvml, handle: Any) -> float | Absent:
    """Bus width times highest memory clock, two transfers per clock: 192 bits at 4004 MHz are 192.2 GB/s."""
    bits = nvml.ask("nvmlDeviceGetMemoryBusWidth", handle)
    clock_mhz = nvml.ask("nvmlDeviceGetMaxClockInfo", handle, nvml.constant("NVML_CLOCK_MEM"))
    for answer in (bits, clock_mhz):
        if isinstance(answer, Absent):
            return answer
    rate = float(bits) / 8 * float(clock_mhz) * 1e6 * 2
    return rate if rate > 0 else Absent("the driver gives no memory clock")


def _known(answer: Any) -> Any:
    return None if isinstance(answer, Absent) else answer


def _cards(root: Path, nvidia_silent: str) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """Cards in sysfs that NVML did not give. nvidia_silent: why not, "" where it gave some."""
    gpus: list[Gpu] = []
    remarks: list[str] = []
    for device in sorted((root / "sys/class/drm").glob("card*/device")):
        vendor = _VENDORS.get(fact(device / "vendor"))
        if not re.fullmatch(r"card\d+", device.parent.name) or vendor is None:
            continue
        memory = fact(device / "mem_info_vram_total")
        if vendor == "amd" and memory.isdecimal() and int(memory) > 0:
            gpus.append(_sysfs_gpu(device, vendor, int(memory)))
        elif vendor != "nvidia" or nvidia_silent:
            why = nvidia_silent if vendor == "nvidia" else "only an engine build for it can tell its memory"
            remarks.append(f"{_label(device, vendor)} is there, but {why}")
    return tuple(gpus), tuple(dict.fromkeys(remarks))


def _sysfs_gpu(device: Path, vendor: Vendor, memory_bytes: int) -> Gpu:
    used = fact(device / "mem_info_vram_used")
    speed, lanes = fact(device / "max_link_speed").split(" ")[0], fact(device / "max_link_width")
    generation, n_lanes = _GENERATION_BY_GT.get(speed), int(lanes) if lanes.isdecimal() else None
    return Gpu(
        name=_label(device, vendor),
        vendor=vendor,
        memory_bytes=memory_bytes,
        free_bytes=max(0, memory_bytes - (int(used) if used.isdecimal() else 0)),
        pcie_generation=generation,
        pcie_lanes=n_lanes or None,
        link_bytes_per_s=link_bytes_per_s(generation, n_lanes),
    )


def _label(device: Path, vendor: Vendor) -> str:
    """The card's product name, or its vendor with the PCI number."""
    number = fact(device / "device").removeprefix("0x")
    return fact(device / "product_name") or f"{_LABELS[vendor]} [{number or 'unnamed'}]"


def _apple(ram_bytes: int, available_bytes: int, cpu: str) -> tuple[Gpu, ...]:
    """Apple's own, which shares the RAM. Metal lets it have two thirds, or, above 32 GiB, three quarters."""
    if (platform.system(), platform.machine()) != ("Darwin", "arm64"):
        return ()
    memory = ram_bytes * 2 // 3 if ram_bytes <= 32 << 30 else ram_bytes * 3 // 4
    return (_sharing(Gpu(f"{cpu} GPU", "apple", memory, min(memory, available_bytes))),)


def _from_engine(device: EngineDevice) -> Gpu:
    shares = device.kind == "igpu"
    gpu = Gpu(
        name=device.description or device.name,
        vendor=_vendor(device.description),
        memory_bytes=device.memory_bytes,
        free_bytes=min(device.free_bytes, device.memory_bytes),
        engine_device=device.name,
    )
    return _sharing(gpu) if shares else gpu


def _used_by_engine(gpu: Gpu, device: EngineDevice) -> Gpu:
    """The engine's word on sharing and on a name that sysfs did not have; the driver's on the rest."""
    name = device.description if _is_anonymous(gpu) and device.description else gpu.name
    gpu = replace(gpu, name=name, engine_device=device.name)
    if device.kind != "igpu" or device.memory_bytes <= 0:
        return gpu
    free = min(device.free_bytes, device.memory_bytes)
    return _sharing(replace(gpu, memory_bytes=device.memory_bytes, free_bytes=free))


def _sharing(gpu: Gpu) -> Gpu:
    return replace(
        gpu, shares_ram=True, bandwidth_bytes_per_s=_SHARED_BANDWIDTH, link_bytes_per_s=_SHARED_LINK
    )


def _same_name(gpu: Gpu, device: EngineDevice) -> bool:
    ours, theirs = (" ".join(name.lower().split()) for name in (gpu.name, device.description))
    return bool(theirs) and (ours == theirs or re.search(rf"\b{re.escape(theirs)}( gpu)?$", ours) is not None)


def _same_size(gpu: Gpu, device: EngineDevice) -> bool:
    """A card without a name, of the vendor, and of the same size to an eighth."""
    near = abs(gpu.memory_bytes - device.memory_bytes) <= gpu.memory_bytes / 8
    return near and _is_anonymous(gpu) and gpu.vendor == _vendor(device.description)


def _same_vendor_shared(gpu: Gpu, device: EngineDevice) -> bool:
    """Of a shared GPU sysfs knows what the firmware set aside, the engine what it may use."""
    return device.kind == "igpu" and _is_anonymous(gpu) and gpu.vendor == _vendor(device.description)


def _is_anonymous(gpu: Gpu) -> bool:
    return gpu.name.startswith(tuple(f"{label} [" for label in _LABELS.values()))


def _vendor(description: str) -> Vendor:
    words = description.lower()
    return next((vendor for vendor, pattern in _WORDS if re.search(pattern, words)), "other")
