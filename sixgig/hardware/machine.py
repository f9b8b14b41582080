"""One machine, frozen: what it has, what it measured, and why something is absent.

A Machine is probed (`sixgig.hardware.probe`), or read from a JSON file, so that a plan can be made for a
machine one does not own. All sizes in bytes, rates in bytes per second.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Vendor = Literal["nvidia", "amd", "intel", "apple", "other"]
Origin = Literal["probed", "measured", "specification"]


@dataclass(frozen=True)
class Absent:
    """Stands where a machine has no such thing, or does not tell, and says why."""

    reason: str


@dataclass(frozen=True)
class Cpu:
    """cores: physical ones of the fastest kind that this process may use, by affinity and quota; what to run
    compute threads on.

    isa: instruction sets that matter to the kernels, empty where the system does not tell.
    """

    name: str
    architecture: str
    cores: int
    logical_cores: int
    isa: tuple[str, ...] = ()


@dataclass(frozen=True)
class Memory:
    """available_bytes: what may be taken now, under every limit. bandwidth: all cores reading together."""

    ram_bytes: int
    available_bytes: int
    cgroup_limit_bytes: int | None = None
    swap_bytes: int = 0
    bandwidth_bytes_per_s: float | Absent = Absent("not measured")


@dataclass(frozen=True)
class ReadRate:
    """Random reads of block_bytes, four in flight, past the page cache where the file system allows that."""

    block_bytes: int
    bytes_per_s: float


@dataclass(frozen=True)
class Disk:
    """The disk models are read from. reads: from the smallest block to the largest; device: its identity."""

    device: str
    file_system: str
    rotating: bool
    free_bytes: int
    reads: tuple[ReadRate, ...] | Absent = Absent("not measured")
    direct: bool = True

    def bytes_per_s(self, block_bytes: float) -> float | Absent:
        """The rate at a block size; between measured ones the time of a block grows linearly with size."""
        if isinstance(self.reads, Absent):
            return self.reads
        return block_bytes / _block_seconds(self.reads, block_bytes)


@dataclass(frozen=True)
class Gpu:
    """memory_bytes: its own, or, where it shares_ram, what it may use of the machine's.

    link_bytes_per_s: host to device, as the link's generation and lanes allow. engine_device: the name under
    which the installed engine can use it, or why it cannot.
    """

    name: str
    vendor: Vendor
    memory_bytes: int
    free_bytes: int
    shares_ram: bool = False
    compute_capability: str | None = None
    driver: str | None = None
    pcie_generation: int | None = None
    pcie_lanes: int | None = None
    bandwidth_bytes_per_s: float | Absent = Absent("the driver does not tell")
    link_bytes_per_s: float | Absent = Absent("the driver does not tell")
    engine_device: str | Absent = Absent("not looked for")


@dataclass(frozen=True)
class Meter:
    """One energy counter. reads: what it gives, or why it cannot be read."""

    name: str
    reads: Literal["joules", "watts"] | Absent


@dataclass(frozen=True)
class KernelSpeed:
    """The engine's product with one storage type on all cores, in weights per second.

    decode: one row of input, the weights from memory. prompt: weights times rows, many rows at once.
    repacked_*: in the engine's repacked layout, 0 where it has none for the type.
    """

    type: str
    decode: float
    prompt: float
    repacked_decode: float = 0.0
    repacked_prompt: float = 0.0


@dataclass(frozen=True)
class Kernels:
    """engine: the build that was measured. step_s: seconds of a small graph node.

    row_s: seconds a row of a matrix costs besides its weights; the speeds were measured on rows of row_width.
    """

    engine: str
    threads: int
    step_s: float
    row_s: float
    row_width: int
    speeds: tuple[KernelSpeed, ...]


@dataclass(frozen=True)
class Machine:
    """origin: probed here, measured by somebody, or taken from specifications (then rates are nominal)."""

    name: str
    origin: Origin
    os: str
    cpu: Cpu
    memory: Memory
    disk: Disk | Absent
    gpus: tuple[Gpu, ...] = ()
    meters: tuple[Meter, ...] = ()
    kernels: Kernels | Absent = Absent("not measured")
    remarks: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """Tells this machine from another in records: processor, cores, memory and GPUs."""
        parts = [self.cpu.name, f"{self.cpu.cores} cores", f"{round(self.memory.ram_bytes / 2**30)} GiB"]
        return ", ".join([*parts, *(gpu.name for gpu in self.gpus)])


def _block_seconds(reads: tuple[ReadRate, ...], block_bytes: float) -> float:
    """Seconds of one block: constant below the smallest measured, proportional above the largest."""
    points = [(rate.block_bytes, rate.block_bytes / rate.bytes_per_s) for rate in reads]
    if block_bytes <= points[0][0]:
        return points[0][1]
    for (small, quick), (large, slow) in pairwise(points):
        if block_bytes <= large:
            return quick + (slow - quick) * (block_bytes - small) / (large - small)
    return points[-1][1] * block_bytes / points[-1][0]
