"""What this machine has: memory and its limits, bandwidths, cores, GPUs. Facts only, no decisions."""

from sixgig.hardware.bandwidth import Bandwidth, disk_read_bandwidth, memory_bandwidth
from sixgig.hardware.cores import Cores, usable_cores
from sixgig.hardware.disks import models_folder
from sixgig.hardware.gpus import EngineDevice, merge_engine_devices
from sixgig.hardware.limited_group import LimitedGroup
from sixgig.hardware.limits import MemoryLimit, memory_limit
from sixgig.hardware.machine import (
    Absent,
    Cpu,
    Disk,
    Gpu,
    Kernels,
    KernelSpeed,
    Machine,
    Memory,
    Meter,
    ReadRate,
)
from sixgig.hardware.machine_file import load_machine, machine_document, profiles, save_machine
from sixgig.hardware.measurements import (
    disturbances,
    kernels_are_due,
    measured,
    remember_kernels,
    remembered,
)
from sixgig.hardware.memory import (
    MachineMemory,
    ProcessMemory,
    available_bytes,
    machine_memory,
    process_memory,
)
from sixgig.hardware.peak import Peak, PeakSampler
from sixgig.hardware.probe import probe
from sixgig.hardware.processor import this_processor

__all__ = [
    "Absent",
    "Bandwidth",
    "Cores",
    "Cpu",
    "Disk",
    "EngineDevice",
    "Gpu",
    "KernelSpeed",
    "Kernels",
    "LimitedGroup",
    "Machine",
    "MachineMemory",
    "Memory",
    "MemoryLimit",
    "Meter",
    "Peak",
    "PeakSampler",
    "ProcessMemory",
    "ReadRate",
    "available_bytes",
    "disk_read_bandwidth",
    "disturbances",
    "kernels_are_due",
    "load_machine",
    "machine_document",
    "machine_memory",
    "measured",
    "memory_bandwidth",
    "memory_limit",
    "merge_engine_devices",
    "models_folder",
    "probe",
    "process_memory",
    "profiles",
    "remember_kernels",
    "remembered",
    "save_machine",
    "this_processor",
    "usable_cores",
]
