"""One `sixgig plan`: each model on offer planned for one machine, and the one to recommend."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from math import prod
from pathlib import Path

from sixgig.cli.terminal import warn
from sixgig.errors import BudgetError, EngineError, ModelFileError, SixgigError, UsageError
from sixgig.hardware import Absent, Machine, disturbances
from sixgig.inference.history import past_runs
from sixgig.inference.options import MAX_CONTEXT
from sixgig.inference.purpose import require_text, require_whole
from sixgig.jobs.opening import DEFAULT_CONTEXT, at_least, demo_path
from sixgig.modelfile import ModelFile, Offer, OpenedOffer, offers, open_all
from sixgig.plan import (
    PUBLISHED,
    Budgets,
    EngineFigures,
    HitCurve,
    Lesson,
    Mode,
    Placement,
    Plan,
    Planner,
    Record,
    Refusal,
    Task,
    WorkPlan,
    basis_of,
    default_budget,
    expected_kld,
    lesson,
    plan_work,
    process_bytes,
    usable_gpu,
)
from sixgig.plan.task import TaskKind
from sixgig.units import parse_memory, parse_size

LARGEST_LOSS = 0.3  # nats per token: a file known to lose more is not recommended where another runs
FAST_ENOUGH = 0.5  # of the fastest acceptable one: among those the one that loses least is recommended
READING_PACE = 5.0  # tokens per second: about as fast as people read
SAME_MODEL = 0.05  # files whose numbers of weights differ by less are quantisations of one model
VRAM_SHARE = 0.95  # of a GPU's free memory, unless said: a desktop takes some


@dataclass(frozen=True)
class Request:
    """The options as typed; None means the default."""

    ram: str | None
    vram: str | None
    context: int | None
    prompt_tokens: int
    ubatch: int
    kind: TaskKind
    trace: str | None
    dry_load: bool


@dataclass(frozen=True)
class Candidate:
    """One offer with its plan, or why there is none. kld: expected loss, None where nothing is published."""

    offer: Offer
    model: ModelFile | None
    plan: Plan | WorkPlan | None
    error: SixgigError | None
    kld: float | None = None
    planner: Planner | None = None

    @property
    def tokens_per_s(self) -> float:
        """Decoding speed, 0 where unknown."""
        if not isinstance(self.plan, Plan) or isinstance(self.plan.speed, Absent):
            return 0.0
        return self.plan.speed.decode_tokens_per_s


@dataclass(frozen=True)
class Survey:
    """All that a name offers, planned. recommended is one of `candidates` or one confirmed in its place."""

    name: str
    recommended: Candidate
    candidates: tuple[Candidate, ...]
    alternatives: tuple[Plan, ...]
    lesson: Lesson | None


class Planning:
    """A machine, its budgets and what is known of past runs; surveys any number of models."""

    def __init__(self, machine_name: str | None, model: str | None, request: Request) -> None:
        """`model` tells which disk counts."""
        at_least(1, "--prompt-tokens", request.prompt_tokens)
        at_least(1, "--ubatch", request.ubatch)
        self.request = request
        self.is_here = machine_name is None
        self.machine = _machine(machine_name, model)
        self.budgets = self._budgets()
        self.records: tuple[Record, ...] = past_runs() if self.is_here else ()
        self.disturbances = disturbances(self.machine) if self.is_here else ()

    @cached_property
    def hits(self) -> HitCurve:
        """The recorded curve, else the published one."""
        if self.request.trace is None:
            return PUBLISHED
        from sixgig.pager.hit_curve import recorded_curve
        from sixgig.pager.trace import TraceFile

        return recorded_curve(TraceFile(Path(self.request.trace)))

    def survey(self, name: str | None) -> Survey:
        """Plan all that `name` offers. BudgetError where nothing fits, with the smallest that would."""
        offered = offers(str(demo_path()) if name is None else name)
        candidates = tuple(self._candidate(opened) for opened in open_all(offered))
        chosen, candidates = self._best(candidates)
        return Survey(
            name or "the demo model",
            chosen,
            candidates,
            self._alternatives(chosen) if len(candidates) == 1 else (),
            self._lesson_for(chosen),
        )

    def _best(self, candidates: tuple[Candidate, ...]) -> tuple[Candidate, tuple[Candidate, ...]]:
        """The one to recommend, and all: one that the engine itself refuses is none of them."""
        while (chosen := _recommended(candidates)) is not None:
            confirmed = self._confirmed(chosen)
            if confirmed.plan is not None:
                return confirmed, candidates
            candidates = tuple(confirmed if one is chosen else one for one in candidates)
        raise _nothing_fits(candidates)

    def _candidate(self, opened: OpenedOffer) -> Candidate:
        if opened.model is None:
            return Candidate(opened.offer, None, None, opened.error)
        model = opened.model
        try:
            require_whole(model)
            if self.request.kind != "run":
                require_text(model)
            if self.request.kind == "tune":
                self._require_tunable(model)
            self._require_openable(model)
            figures = None if model.family.declared else self._figures(model)
            planner = self._planner(model, figures)
            kld = expected_kld(planner.model)
            try:
                plan = self._plan(planner, figures)
            except Refusal as refusal:
                plan = self._by_the_engine(model, refusal)
            return Candidate(opened.offer, model, plan, None, kld, planner)
        except SixgigError as error:
            return Candidate(opened.offer, opened.model, None, error)

    def _by_the_engine(self, model: ModelFile, refusal: Refusal) -> Plan:
        """What the estimates refused, by the engine's own figures, which a run is refused by.

        Raises that refusal where the engine is not asked.
        """
        figures = self._figures(model) if model.family.declared and not self.budgets.vram_bytes else None
        if figures is None or self.request.kind != "run":
            raise refusal
        return self._planner(model, figures).plan_at(Placement(), self.budgets)

    def _require_openable(self, model: ModelFile) -> None:
        """ModelFileError for a file here that the engine would end this process over."""
        if not self._asks_engine(model):
            return
        from sixgig.inference.dry_load import engine_options
        from sixgig.inference.trial import require_openable

        with suppress(EngineError):  # without an engine there is nothing to protect
            require_openable(model, engine_options(self._task(model), self.machine.cpu.cores))

    def _require_tunable(self, model: ModelFile) -> None:
        """ModelFileError, in `sixgig tune`'s words, for tensors or settings that tuning does not compute;
        UsageError where nothing of it can be adapted. Without PyTorch the plan asks the declaration alone.
        """
        if find_spec("torch") is None:
            return
        from sixgig.finetune.adapter import targets  # PyTorch takes seconds
        from sixgig.finetune.net import build_net

        build_net(model, self._task(model).context)
        targets(model)

    def _asks_engine(self, model: ModelFile) -> bool:
        """Whether file and engine are here and may be used; for another machine where nothing else helps."""
        here = self.is_here or not model.family.declared
        return here and self.request.dry_load and model.is_local

    def _figures(self, model: ModelFile) -> EngineFigures | None:
        """The engine's own, where file and engine are here."""
        if not self._asks_engine(model):
            return None
        from sixgig.inference.dry_load import engine_figures

        return engine_figures(model, self._task(model), self.machine.cpu.cores)

    def _plan(self, planner: Planner, figures: EngineFigures | None) -> Plan | WorkPlan:
        if self.request.kind == "run":
            return planner.plan(self.budgets)
        mode: Mode = "paged" if planner.model.routed_bytes else "unpaged"
        engine = figures(Placement(), mode) if figures else None
        ram_bytes = self.budgets.ram_bytes
        return plan_work(self.machine, planner.model, planner.task, planner.process, ram_bytes, engine)

    def _planner(self, model: ModelFile, figures: EngineFigures | None = None) -> Planner:
        return Planner(
            self.machine,
            model,
            self._task(model),
            hits=self.hits,
            lessons=lambda mode: self._lesson(model, mode),
            known_process=process_bytes(self.records, self.machine.identity),
            figures=figures,
        )

    def _task(self, model: ModelFile) -> Task:
        request, context = self.request, self.request.context
        if context is None:
            context = min(model.context_length or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
        at_least(1, "--context", context, MAX_CONTEXT)
        return Task(request.kind, context, request.ubatch, prompt_tokens=request.prompt_tokens)

    def _lesson(self, model: ModelFile, mode: Mode) -> Lesson:
        machine = self.machine
        known = basis_of(machine, mode)
        return lesson(self.records, machine.identity, model.name, model.size_bytes, mode, known)

    def _lesson_for(self, chosen: Candidate) -> Lesson | None:
        if not self.is_here or chosen.model is None or not isinstance(chosen.plan, Plan):
            return None
        return self._lesson(chosen.model, chosen.plan.memory.mode)

    def _alternatives(self, chosen: Candidate) -> tuple[Plan, ...]:
        """Other ways to use the machine with the one file there is."""
        if chosen.planner is None or not isinstance(chosen.plan, Plan):
            return ()
        others = chosen.planner.runners_up(self.budgets)
        return tuple(plan for plan in others if plan.placement != chosen.plan.placement)

    def _confirmed(self, chosen: Candidate) -> Candidate:
        """The same with the engine's own bytes, where file and engine are here, or with its refusal."""
        plan, model = chosen.plan, chosen.model
        if model is None or not isinstance(plan, Plan) or plan.placement.gpu is not None:
            return chosen
        if plan.confirmed or not self._asks_engine(model):
            return chosen
        try:
            confirmed = self._planner(model, self._figures(model)).plan_at(plan.placement, self.budgets)
        except EngineError as error:
            return replace(chosen, plan=replace(plan, unconfirmed_because=str(error)))
        except SixgigError as error:
            return replace(chosen, plan=None, error=error)
        return replace(chosen, plan=confirmed)

    def _budgets(self) -> Budgets:
        ram, memory = self.request.ram, self.machine.memory
        ram_bytes = default_budget(memory.available_bytes) if ram is None else parse_memory(ram)
        if self.is_here and ram is not None:
            from sixgig.inference.memory import allowed

            allowance = allowed(ram_bytes)
            ram_bytes = allowance.ram_bytes
            if allowance.remark:
                warn(allowance.remark)
        return Budgets(ram_bytes, self._vram_bytes())

    def _vram_bytes(self) -> int:
        """As typed; else what is free of a GPU that the engine here can use, or that another machine has."""
        gpu = usable_gpu(self.machine)
        if self.request.vram is not None:
            wanted = parse_size(self.request.vram)
            if wanted and gpu is None:
                raise UsageError(
                    f"--vram {self.request.vram}: {self.machine.name} has no GPU with memory of its own"
                )
            return min(wanted, gpu.memory_bytes) if gpu else 0
        if gpu is None or (self.is_here and isinstance(gpu.engine_device, Absent)):
            return 0
        return int(VRAM_SHARE * gpu.free_bytes)


def _machine(name: str | None, model: str | None) -> Machine:
    """The one named; else this one, with the disk that `model` lies on."""
    if name is None:
        from sixgig.jobs.machines import this_machine

        path = Path(model or demo_path()).expanduser()
        from sixgig.cli.reporter import TerminalReporter

        folder = path if path.is_dir() else path.parent if path.is_file() else None
        return this_machine(folder, reporter=TerminalReporter())
    from sixgig.hardware import load_machine

    return load_machine(name)


def _recommended(candidates: Sequence[Candidate]) -> Candidate | None:
    """Of the largest model that is fast to read along: among files fast enough beside its fastest the one
    that loses least; files of no known loss by size.
    """
    planned = _largest_model([candidate for candidate in candidates if candidate.plan is not None])
    good = [c for c in planned if c.kld is None or c.kld <= LARGEST_LOSS] or planned
    fastest = max((c.tokens_per_s for c in good), default=0.0)
    fast = [c for c in good if c.tokens_per_s >= FAST_ENOUGH * fastest]
    return min(fast, key=_loss, default=None)


def _largest_model(planned: list[Candidate]) -> list[Candidate]:
    """The files of one model: that with the most weights of those at READING_PACE, else the fastest one's."""
    paced = [c for c in planned if c.tokens_per_s >= READING_PACE]
    leader = max(paced, key=_n_weights) if paced else max(planned, key=lambda c: c.tokens_per_s, default=None)
    return [c for c in planned if leader and abs(_n_weights(c) / _n_weights(leader) - 1) < SAME_MODEL]


def _n_weights(candidate: Candidate) -> int:
    assert candidate.model is not None, "only what was read is planned"
    return sum(prod(tensor.shape) for tensor in candidate.model.tensors)


def _loss(candidate: Candidate) -> tuple[float, int]:
    size_bytes = candidate.model.size_bytes if candidate.model else 0
    return (1e-3 if candidate.kld is None else candidate.kld, -size_bytes)


def _nothing_fits(candidates: Sequence[Candidate]) -> SixgigError:
    """The refusal of the file that needs least, else the first thing that went wrong."""
    refused = [c for c in candidates if isinstance(c.error, BudgetError) and c.model is not None]
    if refused:
        smallest = min(refused, key=lambda c: c.model.size_bytes if c.model else 0)
        assert smallest.error is not None
        error = smallest.error
        what = error.what if len(candidates) == 1 else f"{error.what}, even as {smallest.offer.quantisation}"
        return BudgetError(what, error.numbers, error.cure)
    return next((c.error for c in candidates if c.error), ModelFileError("there is nothing to plan"))
