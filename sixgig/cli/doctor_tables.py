"""What `sixgig doctor` says: the machine in a few lines, then the findings; or both as a document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sixgig import __version__
from sixgig.cli.terminal import harmless
from sixgig.hardware import Absent, Disk, Gpu, Kernels, Machine, machine_document
from sixgig.jobs.doctor import DoctorResult
from sixgig.jobs.findings import Finding
from sixgig.units import format_bytes, format_rate

_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


def doctor_document(result: DoctorResult) -> dict[str, Any]:
    """`sixgig doctor --json`; "machine" alone is what a machine file holds."""
    return {
        "version": __version__,
        "machine": machine_document(result.machine),
        "engine": asdict(result.engine),
        "findings": [asdict(finding) for finding in result.findings],
    }


def show_doctor(result: DoctorResult) -> None:
    """For people, on stdout."""
    console = Console(highlight=False)
    console.print(_facts_table(result.machine, result.disk_path))
    console.print(_findings_table(result.findings))


def _facts_table(machine: Machine, disk_path: Path) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in _facts(machine, disk_path):
        table.add_row(name, Text(harmless(words)))
    return table


def _findings_table(found: Sequence[Finding]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found, and what to do about it", overflow="fold")
    for finding in found:
        text = Text(harmless(finding.text))
        if finding.cure:
            text.append(harmless(f"\n→ {finding.cure}"), style="bold")
        table.add_row(Text(finding.level, style=_STYLES[finding.level]), finding.topic, text)
    return table


def _facts(machine: Machine, disk_path: Path) -> Iterator[tuple[str, str]]:
    """(name, words) of what the machine has; measured rates where there are some."""
    cpu, memory = machine.cpu, machine.memory
    yield "system", f"{machine.os}, {cpu.architecture}"
    yield "processor", f"{cpu.name}, {cpu.cores} cores to compute on, {cpu.logical_cores} hardware threads"
    yield "instructions", ", ".join(cpu.isa) or "the system does not tell"
    available = f"{format_bytes(memory.available_bytes)} available"
    yield "memory", f"{format_bytes(memory.ram_bytes)}, {available}, {_rate(memory.bandwidth_bytes_per_s)}"
    yield "disk", f"under {disk_path}: {_disk_words(machine.disk)}"
    for gpu in machine.gpus:
        yield "GPU", _gpu_words(gpu)
    yield "kernels", _kernel_words(machine.kernels)


def _rate(rate: float | Absent) -> str:
    return rate.reason if isinstance(rate, Absent) else format_rate(rate)


def _disk_words(disk: Disk | Absent) -> str:
    if isinstance(disk, Absent):
        return disk.reason
    words = f"{disk.device}, {disk.file_system}, {format_bytes(disk.free_bytes)} free"
    if isinstance(disk.reads, Absent):
        return f"{words}; {disk.reads.reason}"
    rates = (f"{format_bytes(rate.block_bytes)}: {format_rate(rate.bytes_per_s)}" for rate in disk.reads)
    return f"{words}\nreads of {', '.join(rates)}"


def _gpu_words(gpu: Gpu) -> str:
    link = f"PCIe {gpu.pcie_generation} x{gpu.pcie_lanes}" if gpu.pcie_generation and gpu.pcie_lanes else ""
    parts = [
        gpu.name,
        f"{format_bytes(gpu.memory_bytes)}{' shared with the processor' if gpu.shares_ram else ''}",
        f"{format_bytes(gpu.free_bytes)} free",
        f"compute capability {gpu.compute_capability}" if gpu.compute_capability else "",
        f"driver {gpu.driver}" if gpu.driver else "",
        "" if isinstance(gpu.bandwidth_bytes_per_s, Absent) else format_rate(gpu.bandwidth_bytes_per_s),
        link,
    ]
    return ", ".join(part for part in parts if part)


def _kernel_words(kernels: Kernels | Absent) -> str:
    """The speed of one common type; the rest is in the document."""
    if isinstance(kernels, Absent):
        return kernels.reason
    shown = next((speed for speed in kernels.speeds if speed.type == "Q4_K"), None)
    words = f"{len(kernels.speeds)} storage types, {kernels.step_s * 1e6:.2f} µs a step"
    if shown is None:
        return words
    decode, prompt = shown.decode / 1e9, max(shown.prompt, shown.repacked_prompt) / 1e9
    return f"{words}; Q4_K: {decode:.1f} G weights/s decoding, {prompt:.0f} G/s in prompts"
