"""Load a model as its memory was arranged."""

from collections.abc import Callable
from pathlib import Path

from sixgig.errors import SixgigError
from sixgig.hardware.memory import give_back
from sixgig.inference.adapters import Adapter
from sixgig.inference.engine import Engine, observing
from sixgig.inference.loading import Progress
from sixgig.inference.memory import Arrangement, arrange
from sixgig.inference.options import EngineOptions
from sixgig.inference.request import MemoryRequest, PagingOptions
from sixgig.llamacpp.disturb import Watcher
from sixgig.modelfile import ModelFile, open_model
from sixgig.pager.native import load_native
from sixgig.pager.pager import Counters, ModelStream, Pager
from sixgig.planning import MemoryPlan


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
    adapter: Adapter | Path | None = None,
    observe: Watcher | None = None,
) -> BudgetedEngine:
    """The model, open within `ram_bytes` of main memory for the whole process (default: what is free).

    announce: gets the plan before anything large is allocated. progress, observe: as Engine's; what `observe`
    takes is the caller's to deduct from `ram_bytes`. Errors are arrange()'s, and what Engine raises.
    """
    if isinstance(model, Path):
        model = open_model(model)
    if isinstance(adapter, Path):
        adapter = Adapter.open(adapter, model)
    options = observing(options or EngineOptions(), observe)
    arrangement = arrange(
        MemoryRequest(model, ram_bytes, options, paging or PagingOptions(), adapter=adapter)
    )
    try:
        announce(arrangement.plan)
        return load(arrangement, progress, observe)
    except BaseException:
        arrangement.close()
        raise


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
