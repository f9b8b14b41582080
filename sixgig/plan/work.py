"""What tuning and shrinking a model will take: estimates from the header, none confirmed by a run yet.

Tuning visits one layer at a time, forward and backward, and keeps what enters each layer; only adapters have
gradients. Shrinking streams: a calibration pass with paged experts, then slab by slab through the quantiser.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from sixgig.errors import BudgetError
from sixgig.families import Role
from sixgig.hardware import Absent, Machine
from sixgig.plan.anatomy import Anatomy, Layer
from sixgig.plan.budget import STEP_BYTES, Tier, margin_for
from sixgig.plan.footprint import expert_width, smallest_cache_bytes
from sixgig.plan.needs import ProcessBytes, estimated_engine
from sixgig.plan.placement import Placement
from sixgig.plan.task import Task
from sixgig.units import format_bytes, format_seconds

TORCH_BYTES = 260 << 20  # PyTorch's CPU build, imported
HEAD_ROWS, HEAD_TOKENS = 8192, 512  # the last product is done in pieces of so many vocabulary rows and tokens
SLAB_BYTES = 256 << 20  # weights in F32 on their way through a quantiser
QUANTISED_WEIGHTS_PER_S = 5e6  # per core: between ggml's slower and quicker types
_F32_BYTES, _ADAM_BYTES = 4, 16  # weight, gradient and two moments
_TUNED = (Role.ATTENTION, Role.LINEAR_ATTENTION, Role.SHARED_EXPERT, Role.FEED_FORWARD)


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
    machine: Machine, model: Anatomy, task: Task, process: ProcessBytes, ram_bytes: int
) -> WorkPlan:
    """The plan of a tuning step or of a shrinking run; BudgetError with the smallest budget that works."""
    tiers = _tuning(model, task, process) if task.kind == "tune" else _shrinking(model, task, process)
    margin, peak = margin_for(ram_bytes), sum(tier.size_bytes for tier in tiers)
    if peak + margin > ram_bytes:
        raise _refusal(task, tiers, peak, ram_bytes)
    read, unit = _read_bytes(model, task, ram_bytes - peak - margin)
    seconds = _seconds(machine, model, task, read)
    return WorkPlan(task, tiers, ram_bytes, margin, read, unit, seconds)


def _tuning(model: Anatomy, task: Task, process: ProcessBytes) -> tuple[Tier, ...]:
    n_embd, tokens = model.model.n_embd, task.tune_tokens
    widest = max(_layer_weights(layer) for layer in model.layers)
    expert = max((prod(t.shape[:2]) for layer in model.layers for t in layer.routed), default=0)
    return (
        *_process(process, TORCH_BYTES),
        Tier("layer in float32", _F32_BYTES * (widest + expert)),
        Tier("next layer, as stored", max(layer.dense_bytes + _slab(layer) for layer in model.layers)),
        Tier("inputs of the layers", _F32_BYTES * tokens * n_embd * (len(model.layers) + 1)),
        Tier("activations of a layer", _F32_BYTES * tokens * _activations(model)),
        Tier("last product", _F32_BYTES * (HEAD_ROWS * n_embd + 2 * HEAD_TOKENS * model.n_vocab)),
        Tier("adapters and optimizer", _ADAM_BYTES * adapter_weights(model, task.rank)),
    )


def _shrinking(model: Anatomy, task: Task, process: ProcessBytes) -> tuple[Tier, ...]:
    paged = bool(model.routed_bytes)
    engine = estimated_engine(model, task, Placement(), paged=paged)
    cache = smallest_cache_bytes(model.model) * model.model.n_experts_used if paged else 0
    return (
        *_process(process, 0),
        Tier("dense weights" if paged else "weights", engine.weights_bytes),
        Tier("KV cache", engine.context_bytes),
        Tier("compute buffers", engine.compute_bytes),
        Tier("expert cache, at least", cache),
        Tier("slab and its result", 2 * SLAB_BYTES),
    )


def _process(process: ProcessBytes, more: int) -> tuple[Tier, Tier]:
    return Tier("process", process.anonymous_bytes + more), Tier("program files", process.file_bytes, "file")


def adapter_weights(model: Anatomy, rank: int) -> int:
    """Weights of low-rank adapters on attention and on dense and shared feed-forward matrices."""
    tuned = (t for layer in model.layers for t in layer.dense if t.role in _TUNED and len(t.shape) == 2)
    return sum(rank * (tensor.shape[0] + tensor.shape[1]) for tensor in tuned)


def _layer_weights(layer: Layer) -> int:
    return sum(prod(tensor.shape) for tensor in layer.dense)


def _slab(layer: Layer) -> int:
    """Experts of a layer that are fetched together: an eighth of them."""
    return layer.routed_bytes // 8


def _activations(model: Anatomy) -> int:
    """Values a token needs inside a layer, forward and backward."""
    widths = [
        sum(tensor.shape[1] for tensor in layer.dense if len(tensor.shape) == 2) for layer in model.layers
    ]
    routed = model.model.n_experts_used * (expert_width(model.model) + model.model.n_embd)
    return 2 * max(widths, default=0) + 3 * routed


def _read_bytes(model: Anatomy, task: Task, spare: int) -> tuple[int, str]:
    """Bytes from disk: a step goes through what does not stay twice, a shrinking run through all thrice."""
    everything = model.routed_bytes + model.dense_bytes
    if task.kind == "shrink":
        return 3 * everything, "run"
    return 2 * max(0, everything - max(0, spare)), "step"


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
