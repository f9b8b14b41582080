"""Open a model within a memory budget: measure, plan, then load as planned."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sixgig.errors import BudgetError, SixgigError
from sixgig.hardware.memory import available_bytes, process_memory
from sixgig.inference.engine import Engine
from sixgig.inference.loading import Progress
from sixgig.inference.measure import Measured, measure
from sixgig.inference.options import EngineOptions
from sixgig.llamacpp import let_threads_sleep
from sixgig.modelfile import ModelFile, open_model
from sixgig.pager import footprint
from sixgig.pager.native import load_native
from sixgig.pager.pager import DEFAULT_READERS, CachePolicy, Counters, ModelStream, Pager
from sixgig.pager.prediction import teach_routers
from sixgig.plan import MemoryPlan, Needs, Tier, default_budget, plan_memory
from sixgig.units import format_bytes


@dataclass(frozen=True)
class PagingOptions:
    """How experts are paged.

    always: page even a file that fits. policy: who leaves a full cache. readers: reader threads.
    read_ahead: guess the next layer's experts. cache_bytes: a smaller cache than the budget leaves.
    """

    always: bool = False
    policy: CachePolicy = CachePolicy.DECAYED_FREQUENCY
    readers: int = DEFAULT_READERS
    read_ahead: bool = True
    cache_bytes: int | None = None


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
    announce: Callable[[MemoryPlan], object] = lambda plan: None,
    progress: Progress | None = None,
) -> BudgetedEngine:
    """The model, open within `ram_bytes` for the whole process (default: what is free, less a margin).

    A file that fits is loaded whole and runs as the engine alone would; of any other the experts are paged.
    `announce` gets the plan before anything large is allocated. Raises BudgetError with the smallest budget
    that works, and what Engine and Pager raise.
    """
    if isinstance(model, Path):
        model = open_model(model)
    if ram_bytes is None:
        ram_bytes = default_budget(available_bytes(), process_memory().resident_bytes)
    options, paging = options or EngineOptions(), paging or PagingOptions()
    if model.routed_bytes and (paging.always or model.size_bytes > ram_bytes):
        let_threads_sleep()
    plan = None if paging.always else _plan_unpaged(model, ram_bytes, options)
    if plan is not None:
        announce(plan)
        return _open_unpaged(model, plan, options, progress)
    return _open_paged(model, ram_bytes, replace(options, extra_buffers=False), paging, announce, progress)


def _plan_unpaged(model: ModelFile, ram_bytes: int, options: EngineOptions) -> MemoryPlan | None:
    """The plan to load everything; None when it does not fit but paging may help."""
    can_page = model.routed_bytes > 0
    if can_page and model.size_bytes > ram_bytes:
        return None
    largest = max(tensor.size_bytes for tensor in model.tensors)
    staging = Tier("loader", footprint.STREAM_BYTES + largest, phase="loading")
    measured = _measure_stream(model, options, page=False)
    needs = Needs(
        (*_tiers(model, measured, options), staging),
        routed_bytes=0,
        context_tokens=options.context,
        kv_bytes_per_token=_kv_bytes(measured) // options.context,
    )
    try:
        return plan_memory(needs, ram_bytes, modes=("unpaged",))
    except BudgetError:
        if can_page:
            return None
        raise


def _open_unpaged(
    model: ModelFile, plan: MemoryPlan, options: EngineOptions, progress: Progress | None
) -> BudgetedEngine:
    stream = ModelStream(model, page=False)
    try:
        engine = BudgetedEngine(
            model.parts,
            options,
            source=stream.source,
            progress=_advising(progress),
            explain=stream.take_failure,
        )
    finally:
        stream.close()
    engine.plan = plan
    return engine


def _open_paged(
    model: ModelFile,
    ram_bytes: int,
    options: EngineOptions,
    paging: PagingOptions,
    announce: Callable[[MemoryPlan], object],
    progress: Progress | None,
) -> BudgetedEngine:
    pager = Pager(model, paging.readers)
    try:
        with pager.loading():
            measured = _measure_stream(model, options, page=True)
        plan = plan_memory(_paged_needs(model, measured, options, paging), ram_bytes, modes=("paged",))
        announce(plan)
        pager.configure(_cache_bytes(model, plan, paging), paging.policy)
        if paging.read_ahead:
            teach_routers(pager)
        engine = _load_paged(pager, options, progress)
    except BaseException:
        pager.close()
        raise
    engine.plan, engine.pager = plan, pager
    return engine


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


def _load_paged(pager: Pager, options: EngineOptions, progress: Progress | None) -> BudgetedEngine:
    stream = ModelStream(pager.model, page=True)

    def explain() -> SixgigError | None:
        return stream.take_failure() or pager.take_failure()

    try:
        with pager.loading():
            return BudgetedEngine(
                pager.model.parts,
                options,
                source=stream.source,
                progress=_advising(progress),
                explain=explain,
            )
    finally:
        stream.close()


def _measure_stream(model: ModelFile, options: EngineOptions, page: bool) -> Measured:
    stream = ModelStream(model, page)
    try:
        return measure(model.parts, options, stream.source)
    finally:
        stream.close()


def _paged_needs(
    model: ModelFile, measured: Measured, options: EngineOptions, paging: PagingOptions
) -> Needs:
    read_ahead = footprint.router_bytes(model) if paging.read_ahead else 0
    return Needs(
        _tiers(model, measured, options),
        footprint.resident_bytes(model),
        smallest_cache_bytes=footprint.smallest_cache_bytes(model),
        paged_tiers=(
            Tier("loader", footprint.STREAM_BYTES + footprint.UPLOAD_BYTES, phase="loading"),
            Tier("read-ahead", read_ahead),
            Tier("expert groups", footprint.group_scratch_bytes(model, options.ubatch), phase="running"),
        ),
        context_tokens=options.context,
        kv_bytes_per_token=_kv_bytes(measured) // options.context,
    )


def _tiers(model: ModelFile, measured: Measured, options: EngineOptions) -> tuple[Tier, ...]:
    """What is held in either mode. Paged experts are counted as cache, not as weights."""
    buffers, process = measured.buffers, measured.process
    weights = sum(b.model_bytes for b in buffers if b.buffer != footprint.PAGED_BUFFER)
    return (
        Tier("process", process.anonymous_bytes + process.shared_bytes),
        Tier("program files", process.file_bytes + footprint.KERNEL_FILE_BYTES, kind="file"),
        Tier("dense weights" if model.routed_bytes else "weights", weights),
        Tier("KV cache", _kv_bytes(measured)),
        Tier("compute buffers", sum(b.compute_bytes for b in buffers)),
        Tier("kernel scratch", footprint.kernel_scratch_bytes(model, options.ubatch), phase="running"),
    )


def _kv_bytes(measured: Measured) -> int:
    """KV cache, recurrent states and output buffers."""
    return sum(b.context_bytes for b in measured.buffers)
