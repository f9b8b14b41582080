"""What tuning and shrinking a model will take: estimates from the header.

Tuning is planned by the function that the tuner itself asks; its pace is an estimate. Shrinking streams: a
calibration pass with paged experts, then slab by slab through the quantiser.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

from sixgig.errors import BudgetError
from sixgig.families import blocks
from sixgig.hardware import Absent, Machine
from sixgig.plan.anatomy import Anatomy
from sixgig.plan.budget import STEP_BYTES, Tier, margin_for
from sixgig.plan.footprint import smallest_cache_bytes
from sixgig.plan.needs import EngineBytes, ProcessBytes, estimated_engine
from sixgig.plan.placement import Placement
from sixgig.plan.task import Task
from sixgig.plan.tuning import Batch, adapter_weights, plan_tuning
from sixgig.units import format_bytes, format_seconds

TORCH_BYTES = 220 << 20  # PyTorch's CPU build, imported and used once
SLAB_BYTES = 256 << 20  # weights in F32 on their way through a quantiser
QUANTISED_WEIGHTS_PER_S = 5e6  # per core: between ggml's slower and quicker types


@dataclass(frozen=True)
class WorkPlan:
    """tiers: what is held at once. unit: "step" or "run", which takes `seconds`, Absent without a rate."""

    task: Task
    tiers: tuple[Tier, ...]
    ram_budget_bytes: int
    margin_bytes: int
    disk_bytes: int
    unit: str
    seconds: float | Absent

    @property
    def peak_bytes(self) -> int:
        """All tiers together."""
        return sum(tier.size_bytes for tier in self.tiers)

    def why(self) -> str:
        """One line."""
        pace = self.seconds.reason if isinstance(self.seconds, Absent) else format_seconds(self.seconds)
        largest = max(self.tiers, key=lambda tier: tier.size_bytes)
        read = f"{format_bytes(self.disk_bytes)} read each {self.unit}"
        most = f"{largest.name} {format_bytes(largest.size_bytes)}"
        return f"estimated: {pace} a {self.unit}, {read}; most memory: {most}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, under the names that all plans share."""
        return {
            "mode": self.task.kind,
            "vram_bytes": 0,
            "ram_bytes": self.peak_bytes,
            "disk_bytes": self.disk_bytes,
            "peak_memory_bytes": self.peak_bytes,
            "margin_bytes": self.margin_bytes,
            "ram_budget_bytes": self.ram_budget_bytes,
            "decode_tokens_per_s": None,
            "time_to_first_token_s": None,
            f"seconds_per_{self.unit}": None if isinstance(self.seconds, Absent) else self.seconds,
            "explanation": self.why(),
            "confirmed_by_engine": False,
            "ram_tiers": [vars(tier) for tier in self.tiers],
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
    tiers = _shrinking(model, task, process, engine)
    margin, peak = margin_for(ram_bytes), sum(tier.size_bytes for tier in tiers)
    if peak + margin > ram_bytes:
        raise _refusal(task, tiers, peak, ram_bytes)
    read = 3 * (model.routed_bytes + model.dense_bytes)  # once by each pass
    return WorkPlan(task, tiers, ram_bytes, margin, read, "run", _seconds(machine, model, task, read))


def _tuning(machine: Machine, model: Anatomy, task: Task, process: ProcessBytes, ram_bytes: int) -> WorkPlan:
    blocks(model.model.architecture)  # refuses what has none
    process = replace(process, anonymous_bytes=process.anonymous_bytes + TORCH_BYTES)
    batch = Batch(task.tune_tokens, task.micro_tokens, adapter_weights(model, task.rank))
    plan = plan_tuning(model, batch, process, ram_bytes)
    seconds = _seconds(machine, model, task, plan.read_bytes)
    return WorkPlan(task, plan.tiers, ram_bytes, plan.margin_bytes, plan.read_bytes, "step", seconds)


def _shrinking(
    model: Anatomy, task: Task, process: ProcessBytes, engine: EngineBytes | None
) -> tuple[Tier, ...]:
    paged = bool(model.routed_bytes)
    if engine is None:
        engine = estimated_engine(model, task, Placement(), paged=paged)
    cache = smallest_cache_bytes(model.model) * model.model.n_experts_used if paged else 0
    return (
        Tier("process", process.anonymous_bytes),
        Tier("program files", process.file_bytes, "file"),
        Tier("dense weights" if paged else "weights", engine.weights_bytes),
        Tier("KV cache", engine.context_bytes),
        Tier("compute buffers", engine.compute_bytes),
        Tier("expert cache, at least", cache),
        Tier("slab and its result", 2 * SLAB_BYTES),
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


def _refusal(task: Task, tiers: tuple[Tier, ...], peak: int, ram_bytes: int) -> BudgetError:
    smallest = peak
    while smallest - margin_for(smallest) < peak:
        smallest = peak + margin_for(smallest)
    largest = sorted(tiers, key=lambda tier: -tier.size_bytes)[:3]
    shares = ", ".join(f"{tier.name} {format_bytes(tier.size_bytes)}" for tier in largest)
    return BudgetError(
        f"to {task.kind} this model does not fit in {format_bytes(ram_bytes)} of memory",
        f"{format_bytes(smallest)} needed ({shares})",
        f"try --ram {-(-smallest // STEP_BYTES)}M",
    )
