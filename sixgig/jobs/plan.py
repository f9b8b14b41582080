"""What fits a machine, how fast it will be, and why: no more than headers is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import get_args

from sixgig.errors import UsageError
from sixgig.hardware import Absent, Machine, disturbances, load_machine
from sixgig.inference.history import past_runs
from sixgig.inference.memory import allowed
from sixgig.inference.options import MAX_CONTEXT
from sixgig.jobs import machines
from sixgig.jobs.candidates import Candidate, Refused, recommended, refusal
from sixgig.jobs.door import door
from sixgig.jobs.file_plans import FilePlans
from sixgig.jobs.opening import DEFAULT_UBATCH, demo_path, require_resources
from sixgig.jobs.reporter import Reporter, Request
from sixgig.modelfile import offers, open_all
from sixgig.pager.hit_curve import recorded_curve
from sixgig.pager.trace import TraceFile
from sixgig.planning import PUBLISHED, Budgets, Lesson, Plan, Task, default_budget, usable_gpu
from sixgig.planning.task import TaskKind
from sixgig.typed import at_least
from sixgig.units import format_bytes

VRAM_SHARE = 0.95  # of a GPU's free memory, unless said: a desktop takes some


@dataclass(frozen=True)
class PlanRequest(Request):
    """Sizes are bytes; where `= None` is shown, None means the default told here.

    model: a GGUF file, a folder of them, "hf:OWNER/REPO" (all its quantisations), "hf:OWNER/REPO:QUANT", or
        None: the demo model.
    ram: memory budget of the whole process; by default what is free.
    vram: budget of one GPU's memory, 0 for none; by default what is free of a GPU that the engine can use.
    context: tokens the model sees at once; by default the model's own, at most 4096.
    prompt_tokens: length of the prompt that times are told for.
    ubatch: prompt tokens evaluated together; by default 512.
    task: what the model is to be used for, "run", "tune" or "shrink".
    machine: another machine than this one: as a DoctorResult has it, a file that its save() wrote, or a name
        of sixgig.hardware.profiles().
    versus: a second model, planned on the same machine within the same budgets.
    trace: a file of recorded routing, to take hit rates of the expert cache from.
    dry_load: whether the engine is asked for its exact bytes, where file and engine are here.
    """

    model: str | Path | None = None
    _: KW_ONLY
    ram: int | None = None
    vram: int | None = None
    context: int | None = None
    prompt_tokens: int = 512
    ubatch: int | None = None
    task: TaskKind = "run"
    machine: Machine | str | Path | None = None
    versus: str | Path | None = None
    trace: str | Path | None = None
    dry_load: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        super().__post_init__()
        require_resources(self.ram, self.vram, None, self.ubatch)
        at_least(1, "--prompt-tokens", self.prompt_tokens)
        at_least(1, "--context", self.context, MAX_CONTEXT)
        if self.task not in get_args(TaskKind):
            raise UsageError(
                f"there is no task {self.task!r}", cure=f"one of {', '.join(get_args(TaskKind))}"
            )


@dataclass(frozen=True)
class PlanResult:
    """recommended: one of candidates, which are the files on offer that fit. refused: the others, and why.

    lesson: how past runs here correct the speeds. disturbances: a line each for what of the machine was
    measured beside other work. hit_rates_from: where the rates of expert caches come from.
    """

    name: str
    machine: Machine = field(repr=False)
    ram_budget_bytes: int
    vram_budget_bytes: int
    recommended: Candidate
    candidates: tuple[Candidate, ...] = field(repr=False)
    refused: tuple[Refused, ...]
    lesson: Lesson | None
    disturbances: tuple[str, ...]
    hit_rates_from: str
    versus: PlanResult | None = None

    @property
    def is_alone(self) -> bool:
        """Whether the file recommended is the only one on offer."""
        return len(self.candidates) + len(self.refused) == 1

    @property
    def alternatives(self) -> tuple[Candidate, ...]:
        """Other ways to run the file recommended, fastest first, where it is alone."""
        return self.recommended.alternatives if self.is_alone else ()


def _plan(request: PlanRequest) -> PlanResult:
    """Tell what fits, how fast it will be, and why: from headers, of a file that is here by the engine.

    This machine is measured where that was not yet done, which takes some seconds and is remembered. Raises
    BudgetError where nothing fits, with the smallest budget that works; ModelFileError where there is no such
    model; UsageError; Cancelled. May be called from any thread.
    """
    plans = _file_plans(request)
    first = _survey(request.model, plans, request.listener)
    if request.versus is None:
        return first
    return replace(first, versus=_survey(request.versus, plans, request.listener))


plan = door(PlanRequest, _plan)
"""Say what fits and how fast; arguments: PlanRequest."""


def _survey(name: str | Path | None, plans: FilePlans, reporter: Reporter) -> PlanResult:
    """All that `name` offers, planned."""
    with reporter.progress("reading headers") as progress:
        opened = open_all(offers(str(demo_path() if name is None else name)), progress)
    planned = list[Candidate | Refused]()
    for one in opened:
        reporter.check()
        planned.append(plans.plan(one))
    while candidates := [one for one in planned if isinstance(one, Candidate)]:
        chosen = recommended(candidates)
        confirmed = plans.confirmed(chosen)  # one that the engine itself refuses is no candidate
        planned = [confirmed if one is chosen else one for one in planned]
        if isinstance(confirmed, Candidate):
            return _result("the demo model" if name is None else str(name), confirmed, planned, plans)
    raise refusal([one for one in planned if isinstance(one, Refused)])


def _result(
    name: str, chosen: Candidate, planned: Sequence[Candidate | Refused], plans: FilePlans
) -> PlanResult:
    plan, lesson = chosen.plan, None
    if plans.is_here and isinstance(plan, Plan):
        lesson = plans.lesson(chosen.model, plan.memory.mode)
    return PlanResult(
        name=name,
        machine=plans.machine,
        ram_budget_bytes=plans.budgets.ram_bytes,
        vram_budget_bytes=plans.budgets.vram_bytes,
        recommended=chosen,
        candidates=tuple(one for one in planned if isinstance(one, Candidate)),
        refused=tuple(one for one in planned if isinstance(one, Refused)),
        lesson=lesson,
        disturbances=disturbances(plans.machine) if plans.is_here else (),
        hit_rates_from=plans.hits.source,
    )


def _file_plans(request: PlanRequest) -> FilePlans:
    """The machine is loaded or measured, and its budgets are worked out."""
    hits = PUBLISHED if request.trace is None else recorded_curve(TraceFile(Path(request.trace)))
    machine, is_here = _machine(request), request.machine is None
    return FilePlans(
        machine=machine,
        is_here=is_here,
        budgets=_budgets(request, machine),
        task=Task(request.task, ubatch=request.ubatch or DEFAULT_UBATCH, prompt_tokens=request.prompt_tokens),
        context=request.context,
        hits=hits,
        records=past_runs() if is_here else (),
        ask_engine=request.dry_load,
    )


def _machine(request: PlanRequest) -> Machine:
    """The one asked for; else this one, with the disk that the model lies on."""
    if isinstance(request.machine, Machine):
        return request.machine
    if request.machine is not None:
        return load_machine(request.machine)
    path = Path(request.model or demo_path()).expanduser()
    folder = path if path.is_dir() else path.parent if path.is_file() else None
    return machines.this_machine(folder, reporter=request.listener)


def _budgets(request: PlanRequest, machine: Machine) -> Budgets:
    ram_bytes, vram_bytes = request.ram, _vram_bytes(request, machine)
    if ram_bytes is None:
        ram_bytes = default_budget(machine.memory.available_bytes)
    elif request.machine is None:
        allowance = allowed(ram_bytes)
        ram_bytes = allowance.ram_bytes
        if allowance.remark:
            request.listener.warn(allowance.remark)
    return Budgets(ram_bytes, vram_bytes)


def _vram_bytes(request: PlanRequest, machine: Machine) -> int:
    """As asked; else what is free of a GPU that the engine here can use, or that another machine has."""
    gpu = usable_gpu(machine)
    if gpu is None:
        if request.vram:
            raise UsageError(
                f"{machine.name} has no GPU with memory of its own", f"--vram {format_bytes(request.vram)}"
            )
        return 0
    if request.vram is not None:
        return min(request.vram, gpu.memory_bytes)
    idle = request.machine is None and isinstance(gpu.engine_device, Absent)
    return 0 if idle else int(VRAM_SHARE * gpu.free_bytes)
