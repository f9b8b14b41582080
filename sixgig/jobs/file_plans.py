"""One file planned for one machine: by its header, then with the engine's own bytes where both are here."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec

from sixgig.errors import EngineError, SixgigError
from sixgig.hardware import Machine
from sixgig.inference import dry_load, trial
from sixgig.inference.purpose import require_text, require_whole
from sixgig.jobs.candidates import Candidate, Refused
from sixgig.jobs.opening import usual_context
from sixgig.modelfile import ModelFile, OpenedOffer
from sixgig.planning import (
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
    expected_kld,
    lesson,
    plan_work,
    process_bytes,
)


@dataclass(frozen=True)
class FilePlans:
    """What all files of one job are planned with.

    is_here: the machine is this one. records: of past runs on it. ask_engine: where file and engine are here.
    context: of every model; None is its own, at most DEFAULT_CONTEXT.
    """

    machine: Machine
    is_here: bool
    budgets: Budgets
    task: Task
    context: int | None
    hits: HitCurve
    records: tuple[Record, ...]
    ask_engine: bool

    def plan(self, opened: OpenedOffer) -> Candidate | Refused:
        """The file's plan, or why it has none."""
        offer, model = opened.offer, opened.model
        if opened.error is not None:
            return Refused(offer, None, opened.error)
        assert model is not None, "opened, or an error"
        try:
            self._require_plannable(model)
            figures = None if model.family.declared else self._figures(model)
            planner = self._planner(model, figures)
            kld = expected_kld(planner.model)
            if self.task.kind != "run":
                return Candidate.of(offer, model, self._work(planner, figures), kld)
            try:
                plan = planner.plan(self.budgets)
            except Refusal as refusal:
                return Candidate.of(offer, model, self._by_the_engine(model, refusal), kld)
            others = [p for p in planner.runners_up(self.budgets) if p.placement != plan.placement]
            ways = tuple(Candidate.of(offer, model, other, kld) for other in others)
            return replace(Candidate.of(offer, model, plan, kld), alternatives=ways)
        except SixgigError as error:
            return Refused(offer, model, error)

    def _by_the_engine(self, model: ModelFile, refusal: Refusal) -> Plan:
        """What the estimates refused, by the engine's own figures, which a run is refused by.

        Raises that refusal where the engine is not asked, or is not there.
        """
        figures = self._figures(model) if model.family.declared and not self.budgets.vram_bytes else None
        if figures is None:
            raise refusal
        try:
            return self._planner(model, figures).plan_at(Placement(), self.budgets)
        except EngineError:
            raise refusal from None

    def confirmed(self, chosen: Candidate) -> Candidate | Refused:
        """The same with the engine's own bytes, where file and engine are here, or with its refusal."""
        plan, model = chosen.plan, chosen.model
        if isinstance(plan, WorkPlan) or plan.confirmed or plan.placement.gpu is not None:
            return chosen
        if not self._asks_engine(model):
            return chosen
        try:
            confirmed = self._planner(model, self._figures(model)).plan_at(plan.placement, self.budgets)
        except EngineError as error:
            confirmed = replace(plan, unconfirmed_because=str(error))
        except SixgigError as error:
            return Refused(chosen.offer, model, error)
        told = Candidate.of(chosen.offer, model, confirmed, chosen.expected_kld)
        return replace(told, alternatives=chosen.alternatives)

    def _require_plannable(self, model: ModelFile) -> None:
        """ModelFileError for a file that is not whole, not made for the task, or that the engine would end
        this process over; of tuning in `sixgig tune`'s words, with UsageError where nothing can be adapted.
        """
        require_whole(model)
        if self.task.kind != "run":
            require_text(model)
        if self.task.kind == "tune" and find_spec("torch") is not None:  # else the declaration alone is asked
            from sixgig.finetune.adapter import targets  # PyTorch takes seconds
            from sixgig.finetune.net import build_net

            build_net(model, self._task(model).context)
            targets(model)
        if self._asks_engine(model):
            with suppress(EngineError):  # without an engine there is nothing to protect
                options = dry_load.engine_options(self._task(model), self.machine.cpu.cores)
                trial.require_openable(model, options)

    def _asks_engine(self, model: ModelFile) -> bool:
        """Whether file and engine are here and may be used; for another machine where nothing else helps."""
        here = self.is_here or not model.family.declared
        return here and self.ask_engine and model.is_local

    def _figures(self, model: ModelFile) -> EngineFigures | None:
        """The engine's own, where file and engine are here."""
        if not self._asks_engine(model):
            return None
        return dry_load.engine_figures(model, self._task(model), self.machine.cpu.cores)

    def _work(self, planner: Planner, figures: EngineFigures | None) -> WorkPlan:
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
            lessons=lambda mode: self.lesson(model, mode),
            known_process=process_bytes(self.records, self.machine.identity),
            figures=figures,
        )

    def _task(self, model: ModelFile) -> Task:
        context = self.context or usual_context(model)
        return replace(self.task, context=context)

    def lesson(self, model: ModelFile, mode: Mode) -> Lesson:
        """How past runs here correct the model's speeds."""
        known = basis_of(self.machine, mode)
        return lesson(self.records, self.machine.identity, model.name, model.size_bytes, mode, known)
