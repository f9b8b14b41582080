"""The plan of a model on a machine within budgets: the fastest placement that fits, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sixgig.hardware import Absent, Gpu, Machine
from sixgig.modelfile import ModelFile
from sixgig.plan.anatomy import Anatomy, anatomy
from sixgig.plan.budget import MemoryPlan, Mode, Needs, Refusal, Tier, plan_memory
from sixgig.plan.context import growth_bytes
from sixgig.plan.hits import PUBLISHED, HitCurve
from sixgig.plan.learning import Lesson
from sixgig.plan.needs import (
    EngineBytes,
    estimated_device,
    estimated_engine,
    estimated_process,
    held_tiers,
    paged_needs,
    unpaged_needs,
)
from sixgig.plan.placement import Placement, placements
from sixgig.plan.prediction import Predictor, Speed
from sixgig.plan.task import Task
from sixgig.units import format_bytes

EngineFigures = Callable[[Placement, Mode], EngineBytes]
Lessons = Callable[[Mode], Lesson]


@dataclass(frozen=True)
class Budgets:
    """Bytes of main memory for the whole process, and of one GPU's memory (0: none)."""

    ram_bytes: int
    vram_bytes: int = 0


@dataclass(frozen=True)
class Plan:
    """One way to run a model. memory: main memory, tier by tier; device: the GPU's.

    where, who: in words, where its parts are, and what goes through them. disk_bytes: routed experts that
    neither memory holds at once. confirmed: whether the engine itself gave the bytes of weights, cache and
    buffers; otherwise they are estimated from the header.
    """

    task: Task
    placement: Placement
    where: str
    who: str
    memory: MemoryPlan
    device: tuple[Tier, ...]
    vram_budget_bytes: int
    disk_bytes: int
    speed: Speed | Absent
    hits: HitCurve
    confirmed: bool
    unconfirmed_because: str = ""

    @property
    def can_run(self) -> bool:
        """Whether `sixgig run` does this: no GPU cache of the engine's own, and all experts paged or none."""
        whole = self.memory.mode == "unpaged" or self.placement.n_expert_layers == 0
        return whole and not self.placement.expert_cache_bytes

    @property
    def vram_bytes(self) -> int:
        """Bytes of the GPU's memory."""
        return sum(tier.size_bytes for tier in self.device)

    def why(self) -> str:
        """One line: what decides the speed."""
        if isinstance(self.speed, Absent):
            return f"{self.where}; no speed: {self.speed.reason}"
        if self.memory.mode == "unpaged":
            held = "everything in memory" if self.memory.routed_bytes or not self.device else "fits"
            return f"{self.where}, {held}: as fast as {self.who} through the weights"
        disk = self.speed.disk_s_per_token / self.speed.decode_s
        share = self.memory.expert_cache_bytes / max(self.memory.routed_bytes, 1)
        hits, missed = self.speed.hit_rate or 0.0, format_bytes(self.speed.disk_bytes_per_token)
        return (
            f"{self.where}; {100 * share:.0f}% of the experts in memory serve {100 * hits:.0f}% of uses, "
            f"the others are {missed} of disk per token ({100 * min(disk, 1.0):.0f}% of the time)"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values: bytes, seconds, rates; null where something is not known."""
        speed = None if isinstance(self.speed, Absent) else self.speed
        return {
            "mode": self.memory.mode,
            "vram_bytes": self.vram_bytes,
            "ram_bytes": self.memory.predicted_peak_bytes,
            "disk_bytes": self.disk_bytes,
            "peak_memory_bytes": self.memory.predicted_peak_bytes,
            "margin_bytes": self.memory.margin_bytes,
            "ram_budget_bytes": self.memory.ram_budget_bytes,
            "vram_budget_bytes": self.vram_budget_bytes,
            "decode_tokens_per_s": speed and speed.decode_tokens_per_s,
            "prompt_tokens_per_s": speed and speed.prompt_tokens_per_s,
            "time_to_first_token_s": speed and speed.time_to_first_token_s,
            "hit_rate": speed and speed.hit_rate,
            "disk_bytes_per_token": speed and speed.disk_bytes_per_token,
            "disk_limit_cold_tokens_per_s": speed and speed.disk_limit(0.0),
            "disk_limit_60_hits_tokens_per_s": speed and speed.disk_limit(0.6),
            "joules_per_token": speed and _known(speed.joules_per_token),
            "explanation": self.why(),
            "confirmed_by_engine": self.confirmed,
            "gpu_layers": self.placement.n_layers,
            "gpu_expert_layers": self.placement.n_expert_layers,
            "gpu_expert_cache_bytes": self.placement.expert_cache_bytes,
            "ram_tiers": [vars(tier) for tier in self.memory.tiers],
            "vram_tiers": [vars(tier) for tier in self.device],
        }


class Planner:
    """Plans one model on one machine.

    known_process: as estimated_process takes it. figures: asks the engine; without it they are estimated,
    ModelFileError for an architecture without a declaration. Such a model is placed in main memory only.
    """

    def __init__(
        self,
        machine: Machine,
        model: ModelFile,
        task: Task,
        *,
        hits: HitCurve = PUBLISHED,
        lessons: Lessons = lambda mode: Lesson(),
        known_process: tuple[int, int] | None = None,
        figures: EngineFigures | None = None,
    ) -> None:
        self.model: Anatomy = anatomy(model)
        self.machine, self.task, self.hits = machine, task, hits
        self.process = estimated_process(self.model, task, known_process)
        self._figures = figures or self._estimated
        self._lessons = lessons
        self._predictor = Predictor(machine, self.model, task, hits)
        self._found: dict[tuple[Budgets, tuple[Mode, ...]], list[Plan]] = {}

    def plan(
        self,
        budgets: Budgets,
        modes: tuple[Mode, ...] = ("unpaged", "paged"),
        accept: Callable[[Plan], bool] = lambda plan: True,
    ) -> Plan:
        """The fastest plan that is accepted; of equally fast ones that with the least memory.

        Without a GPU every plan must be acceptable. Raises BudgetError, with the smallest budget that works,
        where nothing fits.
        """
        return max(filter(accept, self._plans(budgets, modes)), key=_merit)

    def runners_up(self, budgets: Budgets) -> tuple[Plan, ...]:
        """The best plan of each other way to use the machine, fastest first. Raises BudgetError as plan()."""
        best: dict[tuple[bool, ...], Plan] = {}
        for plan in sorted(self._plans(budgets, ("unpaged", "paged")), key=_merit, reverse=True):
            place = plan.placement
            way = (place.gpu is not None, place.n_expert_layers > 0, place.expert_cache_bytes > 0)
            best.setdefault(way, plan)
        return tuple(best.values())[1:]

    def _plans(self, budgets: Budgets, modes: tuple[Mode, ...]) -> list[Plan]:
        """Every plan that fits, worked out once."""
        if (budgets, modes) not in self._found:
            self._found[budgets, modes] = self._work_out(budgets, modes)
        return self._found[budgets, modes]

    def _work_out(self, budgets: Budgets, modes: tuple[Mode, ...]) -> list[Plan]:
        found, refusals = list[Plan](), list[Refusal]()
        for placement in self._placements(budgets):
            try:
                found.append(self.plan_at(placement, budgets, modes))
            except Refusal as refusal:
                refusals.append(refusal)
        if not found:
            raise _mildest(refusals)
        return found

    def plan_at(
        self, placement: Placement, budgets: Budgets, modes: tuple[Mode, ...] = ("unpaged", "paged")
    ) -> Plan:
        """The plan of one placement; Refusal where main memory is too small for it."""
        memory, confirmed = self._memory(placement, budgets, modes)
        share = memory.expert_cache_bytes / max(memory.routed_bytes, 1) if memory.mode == "paged" else 1.0
        held = memory.expert_cache_bytes if memory.mode == "paged" else memory.routed_bytes
        return Plan(
            task=self.task,
            placement=placement,
            where=self._where(placement),
            who=placement.who(self.model),
            memory=memory,
            device=estimated_device(self.model, self.task, placement),
            vram_budget_bytes=budgets.vram_bytes,
            disk_bytes=max(0, memory.routed_bytes - held),
            speed=self._predictor.speed(placement, memory.mode, share, self._lesson(placement, memory.mode)),
            hits=self.hits,
            confirmed=confirmed,
        )

    def _where(self, placement: Placement) -> str:
        known = self.model.model.family.declared or usable_gpu(self.machine) is None
        return placement.explain(self.model) + ("" if known else " (what a GPU would hold is not known)")

    def _lesson(self, placement: Placement, mode: Mode) -> Lesson:
        """Runs are recorded from main memory alone: they say nothing of a GPU."""
        return self._lessons(mode) if placement.gpu is None else Lesson()

    def _memory(
        self, placement: Placement, budgets: Budgets, modes: tuple[Mode, ...]
    ) -> tuple[MemoryPlan, bool]:
        """Unpaged where that fits, else paged."""
        refusals = list[Refusal]()
        for mode in self._possible(placement, budgets, modes):
            engine = self._figures(placement, mode)
            try:
                return plan_memory(
                    self._needs(placement, mode, engine), budgets.ram_bytes, (mode,)
                ), engine.confirmed
            except Refusal as refusal:
                refusals.append(refusal)
        raise _mildest(refusals)

    def _possible(self, placement: Placement, budgets: Budgets, modes: tuple[Mode, ...]) -> tuple[Mode, ...]:
        """Modes worth a try: without routed experts nothing pages; what exceeds memory does only that."""
        routed = placement.host_routed_bytes(self.model)
        if not routed:
            return ("unpaged",)
        if "paged" not in modes or placement.expert_cache_bytes:
            return ("unpaged",)
        too_large = routed > budgets.ram_bytes
        return tuple(mode for mode in modes if mode == "paged" or not too_large)

    def _needs(self, placement: Placement, mode: Mode, engine: EngineBytes) -> Needs:
        growth = growth_bytes(self.model, self.task, len(self.model.layers) - placement.n_layers)
        if mode == "unpaged":
            needs = unpaged_needs(self.model.model, self.task, engine, self.process)
        else:
            share = placement.host_routed_bytes(self.model) / max(self.model.routed_bytes, 1)
            tiers = held_tiers(self.model.model, self.task, engine, self.process)
            needs = replace(self._paged, tiers=tiers, routed_bytes=int(self._paged.routed_bytes * share))
        return replace(needs, kv_bytes_per_token=growth)

    @cached_property
    def _paged(self) -> Needs:
        """What paging takes, whatever the placement."""
        return paged_needs(self.model.model, self.task, EngineBytes(0, 0, 0), self.process)

    def _estimated(self, placement: Placement, mode: Mode) -> EngineBytes:
        return estimated_engine(self.model, self.task, placement, paged=mode == "paged")

    def _placements(self, budgets: Budgets) -> Iterator[Placement]:
        """No GPU, then every way to use it that fits its budget."""
        yield Placement()
        gpu = usable_gpu(self.machine)
        if gpu is None or budgets.vram_bytes <= 0 or not self.model.model.family.declared:
            return
        for placement in placements(self.model, gpu):
            left = budgets.vram_bytes - self._device_bytes(placement)
            if left >= 0:
                yield placement
            if left > 0 and placement.n_layers == len(self.model.layers) and not placement.n_expert_layers:
                yield from self._with_expert_cache(placement, left)

    def _with_expert_cache(self, placement: Placement, left: int) -> Iterator[Placement]:
        links = placement.gpu and not isinstance(placement.gpu.link_bytes_per_s, Absent)
        if self.model.routed_bytes and links:
            yield replace(placement, expert_cache_bytes=min(left, self.model.routed_bytes))

    def _device_bytes(self, placement: Placement) -> int:
        return sum(tier.size_bytes for tier in estimated_device(self.model, self.task, placement))


def usable_gpu(machine: Machine) -> Gpu | None:
    """The GPU with the most memory of its own; one that shares main memory adds none."""
    own = [gpu for gpu in machine.gpus if not gpu.shares_ram]
    return max(own, key=lambda gpu: gpu.memory_bytes, default=None)


def _mildest(refusals: Sequence[Refusal]) -> Refusal:
    """That of the way that needs least."""
    return min(refusals, key=lambda refusal: refusal.smallest_bytes)


def _merit(plan: Plan) -> tuple[float, int, int]:
    speed = 0.0 if isinstance(plan.speed, Absent) else plan.speed.decode_tokens_per_s
    return (speed, -plan.disk_bytes, -plan.memory.predicted_peak_bytes - plan.vram_bytes)


def _known(value: float | Absent) -> float | None:
    return None if isinstance(value, Absent) else value
