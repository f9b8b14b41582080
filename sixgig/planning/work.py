"""What tuning and shrinking a model will take: estimates from the header.

Tuning is planned by the function that the tuner itself asks; its pace is an estimate. Shrinking streams: a
calibration pass with paged experts, then slab by slab through the quantiser.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

from sixgig.families import blocks
from sixgig.hardware import Absent, Machine
from sixgig.planning.anatomy import Anatomy
from sixgig.planning.budget import SHRINKING, Budgets, MemoryPlan, Needs, fit
from sixgig.planning.footprint import smallest_cache_bytes
from sixgig.planning.needs import EngineBytes, ProcessBytes, estimated_engine
from sixgig.planning.placement import Placement
from sixgig.planning.task import Task
from sixgig.planning.tuning import Batch, adapter_weights, plan_tuning
from sixgig.planning.uses import Need, Tier, Use
from sixgig.units import format_bytes, format_seconds

TORCH_BYTES = 220 << 20  # PyTorch's CPU build, imported and used once
SLAB_BYTES = 256 << 20  # weights in F32 on their way through a quantiser
QUANTISED_WEIGHTS_PER_S = 5e6  # per core: between ggml's slower and quicker types


@dataclass(frozen=True)
class WorkPlan(MemoryPlan):
    """unit: "step" or "run", which reads so much and takes `seconds`, Absent without a rate."""

    task: Task
    read_bytes: int
    unit: str
    seconds: float | Absent

    def why(self) -> str:
        """One line."""
        pace = self.seconds.reason if isinstance(self.seconds, Absent) else format_seconds(self.seconds)
        largest = max(self.at(Tier.RAM), key=lambda need: need.size_bytes)
        read = f"{format_bytes(self.read_bytes)} read each {self.unit}"
        most = f"{largest.use.label} {format_bytes(largest.size_bytes)}"
        return f"estimated: {pace} a {self.unit}, {read}; most memory: {most}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, under the names that all plans share."""
        return {
            "mode": self.task.kind,
            "vram_bytes": 0,
            "ram_bytes": self.predicted_peak_bytes,
            "disk_bytes": self.read_bytes,
            "peak_memory_bytes": self.predicted_peak_bytes,
            "margin_bytes": self.margin_bytes,
            "ram_budget_bytes": self.ram_budget_bytes,
            "decode_tokens_per_s": None,
            "time_to_first_token_s": None,
            f"seconds_per_{self.unit}": None if isinstance(self.seconds, Absent) else self.seconds,
            "explanation": self.why(),
            "confirmed_by_engine": False,
            "ram_tiers": [need.to_json() for need in self.at(Tier.RAM)],
        }


def plan_work(
    machine: Machine,
    model: Anatomy,
    task: Task,
    process: ProcessBytes,
    ram_bytes: int,
    engine: EngineBytes | None = None,
) -> WorkPlan:
    """The plan of a tuning step or of a shrinking run; BudgetError with the smallest budget that works.

    engine: its own figures, paged where the model has routed experts; without, estimated from the header.
    ModelFileError for an architecture without a declaration: to tune it, or to estimate.
    """
    if task.kind == "tune":
        return _tuning(machine, model, task, process, ram_bytes)
    found = fit([_shrinking(model, task, process, engine)], Budgets(ram_bytes), SHRINKING)
    read = 3 * (model.routed_bytes + model.dense_bytes)  # once by each pass
    seconds = _seconds(machine, model, task, read)
    return WorkPlan(found.mode, found.budgets, found.needs, task, read, "run", seconds)


def _tuning(machine: Machine, model: Anatomy, task: Task, process: ProcessBytes, ram_bytes: int) -> WorkPlan:
    blocks(model.model.architecture)  # refuses what has none
    process = replace(process, anonymous_bytes=process.anonymous_bytes + TORCH_BYTES)
    batch = Batch(task.tune_tokens, task.micro_tokens, adapter_weights(model, task.rank))
    plan = plan_tuning(model, batch, process, ram_bytes)
    seconds = _seconds(machine, model, task, plan.read_bytes)
    return WorkPlan(plan.mode, plan.budgets, plan.needs, task, plan.read_bytes, "step", seconds)


def _shrinking(model: Anatomy, task: Task, process: ProcessBytes, engine: EngineBytes | None) -> Needs:
    paged = bool(model.routed_bytes)
    if engine is None:
        engine = estimated_engine(model, task, Placement(), paged=paged)
    cache = smallest_cache_bytes(model.model) * model.model.n_experts_used if paged else 0
    return Needs(
        (
            Need(Use.PROCESS, process.anonymous_bytes),
            Need(Use.PROGRAM_FILES, process.file_bytes, "file"),
            Need(Use.DENSE_WEIGHTS if paged else Use.WEIGHTS, engine.weights_bytes),
            Need(Use.KV_CACHE, engine.context_bytes),
            Need(Use.COMPUTE_BUFFERS, engine.compute_bytes),
            Need(Use.LEAST_CACHE, cache),
            Need(Use.SLAB, 2 * SLAB_BYTES),
        )
    )


def _seconds(machine: Machine, model: Anatomy, task: Task, read: int) -> float | Absent:
    if isinstance(machine.disk, Absent):
        return Absent(f"no pace: the disk: {machine.disk.reason}")
    rate = machine.disk.bytes_per_s(4 << 20)
    if isinstance(rate, Absent):
        return Absent(f"no pace: the disk: {rate.reason}")
    return max(read / rate, _compute_s(machine, model, task))


def _compute_s(machine: Machine, model: Anatomy, task: Task) -> float:
    """Arithmetic alone, at a nominal 50 GFLOP/s a core; quantising at ggml's usual pace."""
    total = sum(prod(t.shape) for layer in model.layers for t in (*layer.dense, *layer.routed))
    if task.kind == "shrink":
        return total / (QUANTISED_WEIGHTS_PER_S * machine.cpu.cores)
    routed = sum(prod(t.shape) for layer in model.layers for t in layer.routed)
    active = total - routed + routed * model.model.n_experts_used / max(model.model.n_experts, 1)
    return 6.0 * active * task.tune_tokens / (50e9 * machine.cpu.cores)
