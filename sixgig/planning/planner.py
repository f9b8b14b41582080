"""The plan of a model on a machine within budgets: the fastest placement that fits, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from sixgig.hardware import Absent, Gpu, Machine
from sixgig.modelfile import ModelFile
from sixgig.planning.anatomy import Anatomy, anatomy
from sixgig.planning.budget import Budgets, MemoryPlan, Mode, Needs, Refusal, fit
from sixgig.planning.hits import PUBLISHED, HitCurve
from sixgig.planning.learning import Lesson
from sixgig.planning.needs import (
    AdapterBytes,
    EngineBytes,
    ModelNeeds,
    Source,
    estimated_device,
    estimated_engine,
    estimated_process,
)
from sixgig.planning.placement import Placement, placements
from sixgig.planning.prediction import Predictor, Speed
from sixgig.planning.task import Task
from sixgig.planning.uses import Need, Tier
from sixgig.units import format_bytes

EngineFigures = Callable[[Placement, Mode], EngineBytes]
Lessons = Callable[[Mode], Lesson]


@dataclass(frozen=True)
class Plan:
    """One way to run a model, in main memory and a GPU's.

    where, who: in words, where its parts are, and what goes through them. source: of the bytes of weights,
    cache and buffers.
    """

    task: Task
    placement: Placement
    where: str
    who: str
    memory: MemoryPlan
    speed: Speed | Absent
    hits: HitCurve
    source: Source
    unconfirmed_because: str = ""

    @property
    def can_run(self) -> bool:
        """Whether `sixgig run` does this: no GPU cache of the engine's own, and all experts paged or none."""
        whole = self.memory.mode == "unpaged" or self.placement.n_expert_layers == 0
        return whole and not self.placement.expert_cache_bytes

    @property
    def confirmed(self) -> bool:
        """Whether the engine itself gave the bytes."""
        return not self.source.error

    def why(self) -> str:
        """One line: what decides the speed."""
        if isinstance(self.speed, Absent):
            return f"{self.where}; no speed: {self.speed.reason}"
        if self.memory.mode == "unpaged":
            held = "fits" if self.memory.vram_bytes else "everything in memory"
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
            "vram_bytes": self.memory.vram_bytes,
            "ram_bytes": self.memory.predicted_peak_bytes,
            "disk_bytes": self.memory.disk_bytes,
            "peak_memory_bytes": self.memory.predicted_peak_bytes,
            "margin_bytes": self.memory.margin_bytes,
            "ram_budget_bytes": self.memory.ram_budget_bytes,
            "vram_budget_bytes": self.memory.budgets.vram_bytes,
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
            "ram_tiers": [need.to_json() for need in self.memory.at(Tier.RAM)],
            "vram_tiers": [need.to_json() for need in self.memory.at(Tier.VRAM)],
        }


class Planner:
    """Plans one model on one machine.

    known_process: as estimated_process takes it. figures: asks the engine; without it they are estimated,
    ModelFileError for an architecture without a declaration. Such a model is placed in main memory only.
    adapter, beside: held as well.
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
        adapter: AdapterBytes | None = None,
        beside: tuple[Need, ...] = (),
    ) -> None:
        self.model: Anatomy = anatomy(model)
        self.machine, self.task, self.hits = machine, task, hits
        self.process = estimated_process(self.model, task, known_process)
        self._figures = figures or (
            lambda placement, mode: estimated_engine(self.model, task, placement, mode == "paged")
        )
        self._uses = ModelNeeds(self.model, task, adapter, beside)
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
                if refusal.tier is Tier.VRAM:  # what follows takes ever more of it
                    break
                refusals.append(refusal)
        if not found:
            raise min(refusals, key=lambda refusal: refusal.smallest_bytes)
        return found

    def plan_at(
        self, placement: Placement, budgets: Budgets, modes: tuple[Mode, ...] = ("unpaged", "paged")
    ) -> Plan:
        """The plan of one placement, unpaged where that fits, else paged; Refusal where neither does."""
        told, device = dict[Mode, EngineBytes](), estimated_device(self.model, self.task, placement)

        def needs(mode: Mode) -> Needs:
            told[mode] = self._figures(placement, mode)
            return self._uses.of(mode, told[mode], self.process, placement, device)

        memory = fit(map(needs, self._possible(placement, modes)), budgets)
        share = memory.expert_cache_bytes / max(memory.routed_bytes, 1) if memory.mode == "paged" else 1.0
        return Plan(
            task=self.task,
            placement=placement,
            where=self._where(placement),
            who=placement.who(self.model),
            memory=memory,
            speed=self._predictor.speed(placement, memory.mode, share, self._lesson(placement, memory.mode)),
            hits=self.hits,
            source=told[memory.mode].source,
        )

    def _where(self, placement: Placement) -> str:
        known = self.model.model.family.declared or usable_gpu(self.machine) is None
        return placement.explain(self.model) + ("" if known else " (what a GPU would hold is not known)")

    def _lesson(self, placement: Placement, mode: Mode) -> Lesson:
        """Runs are recorded from main memory alone: they say nothing of a GPU."""
        return self._lessons(mode) if placement.gpu is None else Lesson()

    def _possible(self, placement: Placement, modes: tuple[Mode, ...]) -> tuple[Mode, ...]:
        """Those worth a try: nothing pages without experts in main memory, or below a cache of them."""
        pages = placement.host_routed_bytes(self.model) and not placement.expert_cache_bytes
        return modes if pages and "paged" in modes else ("unpaged",)

    def _placements(self, budgets: Budgets) -> Iterator[Placement]:
        """No GPU, then every way to use it."""
        yield Placement()
        gpu = usable_gpu(self.machine)
        if gpu is None or budgets.vram_bytes <= 0 or not self.model.model.family.declared:
            return
        for placement in placements(self.model, gpu):
            yield placement
            if placement.n_layers == len(self.model.layers) and not placement.n_expert_layers:
                yield from self._with_expert_cache(placement, budgets)

    def _with_expert_cache(self, placement: Placement, budgets: Budgets) -> Iterator[Placement]:
        """In all that the GPU has left."""
        links = placement.gpu and not isinstance(placement.gpu.link_bytes_per_s, Absent)
        device = estimated_device(self.model, self.task, placement)
        left = budgets.vram_bytes - sum(need.size_bytes for need in device)
        if self.model.routed_bytes and links and left > 0:
            yield replace(placement, expert_cache_bytes=min(left, self.model.routed_bytes))


def usable_gpu(machine: Machine) -> Gpu | None:
    """The GPU with the most memory of its own; one that shares main memory adds none."""
    own = [gpu for gpu in machine.gpus if not gpu.shares_ram]
    return max(own, key=lambda gpu: gpu.memory_bytes, default=None)


def _merit(plan: Plan) -> tuple[float, int, int]:
    speed = 0.0 if isinstance(plan.speed, Absent) else plan.speed.decode_tokens_per_s
    return (speed, -plan.memory.disk_bytes, -plan.memory.predicted_peak_bytes - plan.memory.vram_bytes)


def _known(value: float | Absent) -> float | None:
    return None if isinstance(value, Absent) else value
