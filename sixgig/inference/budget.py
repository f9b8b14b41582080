"""Open a model within a memory budget: measure, plan, then load as planned."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sixgig.errors import BudgetError, SixgigError
from sixgig.hardware import process_memory
from sixgig.hardware.memory import give_back
from sixgig.inference.adapters import Adapter
from sixgig.inference.dry_load import dry_load, engine_bytes, process_bytes
from sixgig.inference.engine import Engine, observing
from sixgig.inference.loading import Progress
from sixgig.inference.options import EngineOptions
from sixgig.inference.placing import placed, require_room
from sixgig.inference.purpose import require_runnable, require_whole
from sixgig.inference.room import allowed, require_context
from sixgig.inference.threads import choose_waiting
from sixgig.llamacpp import let_threads_sleep
from sixgig.llamacpp.disturb import Watcher
from sixgig.modelfile import ModelFile, open_model
from sixgig.pager.native import load_native
from sixgig.pager.pager import DEFAULT_READERS, CachePolicy, Counters, ModelStream, Pager
from sixgig.pager.prediction import teach_routers
from sixgig.plan import (
    Budgets,
    MemoryPlan,
    Placement,
    Task,
    Tier,
    footprint,
    paged_needs,
    plan_memory,
    unpaged_needs,
)
from sixgig.units import format_bytes


@dataclass(frozen=True)
class PagingOptions:
    """How experts are paged.

    always: page even a file that fits; never: refuse rather than page. policy: who leaves a full cache.
    readers: reader threads. read_ahead: guess the next layer's experts. cache_bytes: a smaller cache than the
    budget leaves.
    """

    always: bool = False
    never: bool = False
    policy: CachePolicy = CachePolicy.DECAYED_FREQUENCY
    readers: int = DEFAULT_READERS
    read_ahead: bool = True
    cache_bytes: int | None = None


@dataclass(frozen=True)
class Arrangement:
    """A model and how its memory was planned, nothing loaded yet. `pager` is None where it runs unpaged."""

    model: ModelFile
    options: EngineOptions
    plan: MemoryPlan
    pager: Pager | None = None
    adapter: Adapter | None = None

    def close(self) -> None:
        """Let go of the pager; after whatever was loaded with it."""
        if self.pager is not None:
            self.pager.close()


class BudgetedEngine(Engine):
    """An Engine whose memory was planned. `pager` is None when the model runs unpaged."""

    plan: MemoryPlan
    pager: Pager | None = None

    def counters(self) -> Counters | None:
        """What the pager did; None when unpaged."""
        return self.pager.counters() if self.pager else None

    def close(self) -> None:
        """Free the model, then let go of its files."""
        super().close()
        if self.pager is not None:
            self.pager.close()


def open_engine(
    model: ModelFile | Path,
    ram_bytes: int | None = None,
    options: EngineOptions | None = None,
    paging: PagingOptions | None = None,
    *,
    placement: Placement | None = None,
    vram_bytes: int = 0,
    announce: Callable[[MemoryPlan], object] = lambda plan: None,
    progress: Progress | None = None,
    adapter: Adapter | Path | None = None,
    observe: Watcher | None = None,
    beside: tuple[Tier, ...] = (),
) -> BudgetedEngine:
    """The model, open within `ram_bytes` for the whole process (default: what is free, less a margin).

    A limit of the system that is lower is kept to instead (allowed()).

    Arguments and errors are arrange()'s, and what Engine raises; progress: as Engine's; adapter: also a path.
    observe: as Engine's; its memory is the caller's to deduct from `ram_bytes`.
    """
    if isinstance(model, Path):
        model = open_model(model)
    if isinstance(adapter, Path):
        adapter = Adapter.open(adapter, model)
    options = observing(options or EngineOptions(), observe)
    arrangement = arrange(
        model,
        ram_bytes,
        options,
        paging,
        placement=placement,
        vram_bytes=vram_bytes,
        announce=announce,
        adapter=adapter,
        beside=beside,
    )
    try:
        return load(arrangement, progress, observe)
    except BaseException:
        arrangement.close()
        raise


def arrange(
    model: ModelFile,
    ram_bytes: int | None = None,
    options: EngineOptions | None = None,
    paging: PagingOptions | None = None,
    *,
    placement: Placement | None = None,
    vram_bytes: int = 0,
    announce: Callable[[MemoryPlan], object] = lambda plan: None,
    adapter: Adapter | None = None,
    beside: tuple[Tier, ...] = (),
) -> Arrangement:
    """Decide how a model lies in memory, and configure its pager.

    A file that fits is loaded whole and runs as the engine alone would; of any other the experts are paged.
    placement: the planner's, default everything in main memory; vram_bytes: what it may take of its GPU.
    `announce` gets the plan before anything large is allocated; adapter: a LoRA for the model, counted in it.
    beside: what else the process will hold. Raises BudgetError with the smallest budget that works, and what
    Pager raises; ModelFileError for a bad adapter.
    """
    require_whole(model)
    allowance = allowed(ram_bytes)
    options = placed(options or EngineOptions(), model, placement or Placement())
    paging = paging or PagingOptions()
    with allowance.explaining():
        if not options.gpu_layers:
            pages = model.routed_bytes > 0 and not paging.never
            require_context(model, allowance, options, _task(options, paging), pages, beside)
        return _arranged(
            model,
            allowance.ram_bytes,
            options,
            paging,
            vram_bytes,
            announce,
            adapter,
            beside,
        )


def _arranged(
    model: ModelFile,
    ram_bytes: int,
    options: EngineOptions,
    paging: PagingOptions,
    vram_bytes: int,
    announce: Callable[[MemoryPlan], object],
    adapter: Adapter | None,
    beside: tuple[Tier, ...],
) -> Arrangement:
    if model.routed_bytes and (paging.always or model.size_bytes > ram_bytes):
        let_threads_sleep()
    choose_waiting(options.threads)
    task = _task(options, paging)
    budgets = Budgets(ram_bytes, vram_bytes if adapter is None else _without(adapter, ram_bytes, vram_bytes))
    plan = None if paging.always else _plan_unpaged(model, budgets, options, paging, task, adapter, beside)
    if plan is not None:
        announce(plan)
        return Arrangement(model, options, plan, adapter=adapter)
    options = replace(options, extra_buffers=False, offload_products=False)
    return _arrange_paged(model, budgets, options, paging, announce, adapter, beside)


def _without(adapter: Adapter, ram_bytes: int, vram_bytes: int) -> int:
    """The GPU's memory less the adapter, which may lie there; BudgetError if even main memory has no room."""
    needed = process_memory().resident_bytes + adapter.bytes.held_bytes + adapter.bytes.loading_bytes
    if needed > ram_bytes:
        numbers = f"{format_bytes(needed)} needed with the program alone, {format_bytes(ram_bytes)} allowed"
        raise BudgetError("the adapter does not fit", numbers, "raise --ram")
    return max(0, vram_bytes - adapter.bytes.held_bytes)


def _plan_unpaged(
    model: ModelFile,
    budgets: Budgets,
    options: EngineOptions,
    paging: PagingOptions,
    task: Task,
    adapter: Adapter | None,
    beside: tuple[Tier, ...],
) -> MemoryPlan | None:
    """The plan to load everything; None when it does not fit but paging may help."""
    may_page = model.routed_bytes > 0 and not paging.never
    if may_page and model.size_bytes > budgets.ram_bytes + budgets.vram_bytes:
        return None
    measured = dry_load(model, options, adapter=adapter)
    require_runnable(model, measured.traits, options)
    require_room(measured, budgets.vram_bytes)
    extra = adapter.bytes if adapter else None
    needs = unpaged_needs(model, task, engine_bytes(measured), process_bytes(measured), extra)
    try:
        return plan_memory(needs.with_tiers(beside), budgets.ram_bytes, modes=("unpaged",))
    except BudgetError:
        if may_page:
            return None
        raise


def _arrange_paged(
    model: ModelFile,
    budgets: Budgets,
    options: EngineOptions,
    paging: PagingOptions,
    announce: Callable[[MemoryPlan], object],
    adapter: Adapter | None,
    beside: tuple[Tier, ...],
) -> Arrangement:
    pager = Pager(model, paging.readers)
    try:
        measured = dry_load(model, options, pager, adapter)
        require_runnable(model, measured.traits, options)
        require_room(measured, budgets.vram_bytes)
        task, extra = _task(options, paging), adapter.bytes if adapter else None
        needs = paged_needs(model, task, engine_bytes(measured), process_bytes(measured), extra)
        plan = plan_memory(needs.with_tiers(beside), budgets.ram_bytes, modes=("paged",))
        announce(plan)
        pager.configure(_cache_bytes(model, plan, paging), paging.policy)
        if paging.read_ahead:
            teach_routers(pager)
    except BaseException:
        pager.close()
        raise
    return Arrangement(model, options, plan, pager, adapter)


def _cache_bytes(model: ModelFile, plan: MemoryPlan, paging: PagingOptions) -> int:
    """The plan's expert cache, or the smaller one that was asked for."""
    wanted, smallest = paging.cache_bytes or plan.expert_cache_bytes, footprint.smallest_cache_bytes(model)
    if wanted < smallest:
        numbers = f"{format_bytes(smallest)} needed for one expert"
        raise BudgetError(
            f"an expert cache of {format_bytes(wanted)} is too small", numbers, "make it larger"
        )
    return min(wanted, plan.expert_cache_bytes)


def _advising(progress: Progress | None) -> Progress:
    """`progress`, preceded by asking for huge pages: its first call finds weights allocated, not filled."""
    advised = False

    def report(fraction: float) -> bool | None:
        nonlocal advised
        if not advised:
            advised = True
            load_native().sixgig_advise_huge_pages()
        return None if progress is None else progress(fraction)

    return report


def load(
    arrangement: Arrangement, progress: Progress | None = None, observe: Watcher | None = None
) -> BudgetedEngine:
    """The engine with its weights, through a stream that passes over experts which are paged.

    It closes the arrangement with itself; where loading fails, that is the caller's. Raises as Engine does.
    """
    pager = arrangement.pager
    stream = ModelStream(arrangement.model, page=pager is not None)

    def explain() -> SixgigError | None:
        return stream.take_failure() or (pager.take_failure() if pager else None)

    def loaded() -> None:
        if pager is not None:
            pager.require_placed()
        give_back()

    try:
        engine = BudgetedEngine(
            arrangement.model.parts,
            arrangement.options,
            source=stream.source,
            loaded=loaded,
            progress=_advising(progress),
            explain=explain,
            adapter=arrangement.adapter,
            observe=observe,
            pager=pager,
        )
    finally:
        stream.close()
    engine.plan, engine.pager = arrangement.plan, pager
    give_back()
    return engine


def _task(options: EngineOptions, paging: PagingOptions) -> Task:
    return Task(
        context=options.context,
        sequences=options.sequences,
        ubatch=options.ubatch,
        type_k=options.type_k,
        type_v=options.type_v,
        read_ahead=paging.read_ahead,
    )
