"""What this machine has: memory and its limits, bandwidths, cores. Facts only, no decisions."""

from sixgig.hardware.bandwidth import Bandwidth, disk_read_bandwidth, memory_bandwidth
from sixgig.hardware.machine import Machine, probe
from sixgig.hardware.memory import (
    MachineMemory,
    ProcessMemory,
    available_bytes,
    machine_memory,
    process_memory,
)
from sixgig.hardware.peak import Peak, PeakSampler

__all__ = [
    "Bandwidth",
    "Machine",
    "MachineMemory",
    "Peak",
    "PeakSampler",
    "ProcessMemory",
    "available_bytes",
    "disk_read_bandwidth",
    "machine_memory",
    "memory_bandwidth",
    "probe",
    "process_memory",
]
