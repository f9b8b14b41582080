"""How a model's memory is arranged: placed, measured, held against the budgets, its pager configured.

Nothing large is allocated here; load.py does that.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

from sixgig.errors import BudgetError
from sixgig.hardware import machine_memory, memory_limit, process_memory
from sixgig.hardware.memory import give_back
from sixgig.inference.adapters import Adapter
from sixgig.inference.dry_load import dry_load, engine_bytes
from sixgig.inference.options import EngineOptions
from sixgig.inference.purpose import require_runnable, require_whole
from sixgig.inference.request import MemoryRequest, PagingOptions
from sixgig.inference.threads import choose_waiting
from sixgig.llamacpp import let_threads_sleep
from sixgig.modelfile import ModelFile
from sixgig.pager.pager import Pager
from sixgig.pager.prediction import teach_routers
from sixgig.planning import (
    Allowance,
    Budgets,
    MemoryPlan,
    Mode,
    Need,
    Needs,
    Placement,
    Plan,
    Planner,
    Refusal,
    Use,
    allowance,
    anatomy,
    estimated_process,
    fit,
    header_engine,
    table_bytes,
)
from sixgig.planning.footprint import smallest_cache_bytes
from sixgig.planning.needs import device_needs
from sixgig.units import format_bytes

CHEAP_BYTES = 32 << 20  # so much the engine may take to say exactly what it needs
# What opening the engine's library adds to a process. Measured: LOG.md.
LIBRARY_BYTES, LIBRARY_FILE_BYTES = 8 << 20, 16 << 20


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


def allowed(ram_bytes: int | None) -> Allowance:
    """What this process may plan with now, of what was asked for or, None, of what is free."""
    give_back()
    return allowance(ram_bytes, machine_memory(), memory_limit(), process_memory().resident_bytes)


def arrange(request: MemoryRequest) -> Arrangement:
    """Decide how a model lies in memory, and configure its pager.

    A file that fits is loaded whole and runs as the engine alone would; of any other the experts are paged.
    Raises Refusal, whose budget is accepted when it is asked for, and what Pager and dry_load() raise;
    ModelFileError for a bad adapter.
    """
    require_whole(request.model)
    allowance = allowed(request.ram_bytes)
    budgets = Budgets(allowance.ram_bytes, request.vram_bytes)
    with allowance.explaining(), ExitStack() as pagers:
        placement = _placement(request, budgets)
        _require_by_header(request, allowance, budgets, placement)
        too_large = request.model.size_bytes > budgets.ram_bytes
        if request.model.routed_bytes and (request.paging.always or too_large):
            let_threads_sleep()  # before the engine's library is opened: reader threads need the processors
        choose_waiting(request.options.threads)
        ways = _Ways(request, placement, pagers)
        plan = fit(map(ways.needs, _modes(request, budgets, placement)), budgets)
        pager = None
        if plan.mode == "paged":
            pager = ways.pager
            pager.configure(_cache_bytes(request.model, plan, request.paging), request.paging.policy)
            if request.paging.read_ahead:
                teach_routers(pager)
            pagers.pop_all()
    return Arrangement(request.model, ways.options(plan.mode), plan, pager, request.adapter)


def placed(options: EngineOptions, model: ModelFile, placement: Placement) -> EngineOptions:
    """The options that put a model where the placement says. llama.cpp counts the head as one more layer."""
    if placement.gpu is None:
        return options
    layers = anatomy(model).layers
    n_host_experts = len(layers) - placement.n_expert_layers
    kept = tuple(tensor.name for layer in layers[:n_host_experts] for tensor in layer.routed)
    whole = placement.n_layers == len(layers)
    return replace(options, gpu_layers=placement.n_layers + whole, host_tensors=kept)


def _placement(request: MemoryRequest, budgets: Budgets) -> Placement:
    """The planner's; all in main memory without a GPU, without a declaration, or where it finds no room.

    What it only estimates may err: the GPU keeps room for that.
    """
    model, modes = request.model, request.modes
    if not budgets.vram_bytes or request.machine is None or not model.family.declared:
        return Placement()
    needs = request.needs
    planner = Planner(request.machine, model, request.task, adapter=needs.adapter, beside=needs.beside)
    spread = header_engine(needs.model, needs.task, Placement(), paged=True).spread_bytes
    budgets = replace(budgets, vram_bytes=max(0, budgets.vram_bytes - spread))

    def accept(plan: Plan) -> bool:
        return plan.can_run and (plan.memory.mode in modes or not model.routed_bytes)

    with suppress(Refusal):
        return planner.plan(budgets, modes, accept).placement
    return Placement()


def _require_by_header(
    request: MemoryRequest, allowance: Allowance, budgets: Budgets, placement: Placement
) -> None:
    """Refuse by the header what cannot fit, where asking the engine would take memory that is not there.

    It notes something of each position, holds the logits it may be asked for, and loads an adapter for a
    moment, even where it allocates nothing else. Only where half of what is no more than estimated would be
    too much; of an architecture without a declaration the weights count alone. Raises Refusal.
    """
    needs, task = request.needs, request.task
    parts, adapter = needs.model, needs.adapter
    outputs = 4 * task.ubatch * request.model.n_vocab if request.options.all_logits else 0
    notes, now = table_bytes(task), process_memory()
    asking = notes + outputs + (adapter.held_bytes + adapter.loading_bytes if adapter else 0)
    cramped = allowance.limit is not None and allowance.ram_bytes < now.resident_bytes
    if asking < CHEAP_BYTES and not cramped:
        return
    engine = header_engine(parts, task, placement, request.modes[-1] == "paged")
    certain = now.resident_bytes + asking + engine.weights_bytes + engine.context_bytes
    if certain + engine.compute_bytes // 2 <= budgets.ram_bytes:
        return
    itself = now.anonymous_bytes + now.shared_bytes + LIBRARY_BYTES, now.file_bytes + LIBRARY_FILE_BYTES
    process = estimated_process(parts, task, itself)
    process = replace(process, anonymous_bytes=process.anonymous_bytes + notes)
    if outputs:
        needs = replace(needs, beside=(*needs.beside, Need(Use.OUTPUTS, outputs)))
    fit((needs.by_header(mode, process, placement) for mode in request.modes), budgets)


def _modes(request: MemoryRequest, budgets: Budgets, placement: Placement) -> tuple[Mode, ...]:
    """The order to try them in: what is larger than all memory is asked about unpaged only if refused."""
    if placement.n_expert_layers:
        return ("unpaged",)
    too_large = request.model.size_bytes > budgets.ram_bytes + budgets.vram_bytes
    return request.modes[::-1] if too_large else request.modes


class _Ways:
    """What each mode takes by the engine's own word, asked with a dry load."""

    pager: Pager

    def __init__(self, request: MemoryRequest, placement: Placement, pagers: ExitStack) -> None:
        self._request, self._placement, self._pagers = request, placement, pagers
        self._options = placed(request.options, request.model, placement)
        self._needs = request.needs

    def options(self, mode: Mode) -> EngineOptions:
        """What the model is opened with."""
        if mode == "unpaged":
            return self._options
        return replace(self._options, extra_buffers=False, offload_products=False)

    def needs(self, mode: Mode) -> Needs:
        """Raises as dry_load() and require_runnable(), and as Pager."""
        request, options, pager = self._request, self.options(mode), None
        if mode == "paged":
            pager = self.pager = Pager(request.model, request.paging.readers)
            self._pagers.callback(pager.close)
        measured = dry_load(request.model, options, pager, request.adapter)
        require_runnable(request.model, measured.traits, options)
        device = device_needs(engine_bytes(measured, on_device=True)) if options.gpu_layers else ()
        return self._needs.of(mode, engine_bytes(measured), None, self._placement, device)


def _cache_bytes(model: ModelFile, plan: MemoryPlan, paging: PagingOptions) -> int:
    """The plan's expert cache, or the smaller one that was asked for."""
    wanted, smallest = paging.cache_bytes or plan.expert_cache_bytes, smallest_cache_bytes(model)
    if wanted < smallest:
        numbers = f"{format_bytes(smallest)} needed for one expert"
        raise BudgetError(
            f"an expert cache of {format_bytes(wanted)} is too small", numbers, "make it larger"
        )
    return min(wanted, plan.expert_cache_bytes)
