"""What the engine itself says that a model and a context take, before anything of them is allocated."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from sixgig.errors import EngineError
from sixgig.hardware.memory import ProcessMemory, give_back, process_memory
from sixgig.inference.adapters import Adapter
from sixgig.inference.loading import load_weights
from sixgig.inference.options import CONTEXT_STEP, EngineOptions
from sixgig.inference.purpose import pooling_of, require_computable, require_runnable, require_whole
from sixgig.inference.trial import require_openable
from sixgig.llamacpp import (
    BufferNeed,
    Library,
    ModelTraits,
    evaluation_bytes,
    load_library,
    memory_breakdown,
    model_traits,
)
from sixgig.modelfile import ModelFile
from sixgig.pager.pager import ModelStream, Pager
from sixgig.planning import MEASURED, EngineBytes, EngineFigures, Mode, Placement, ProcessBytes, Task, anatomy
from sixgig.planning.context import checkpoint_bytes as declared_bytes
from sixgig.planning.footprint import PAGED_BUFFER

_MOST_STEPS = 1 << 9  # of a context whose bytes are only asked for


@dataclass(frozen=True)
class Measured:
    """buffers: what the engine would allocate, by buffer type. process: this process with the model open but
    nothing of that allocated (interpreter, library, vocabulary), and the graphs it evaluates with. traits:
    what the model is."""

    buffers: tuple[BufferNeed, ...]
    process: ProcessMemory
    traits: ModelTraits


def dry_load(
    model: ModelFile, options: EngineOptions, pager: Pager | None = None, adapter: Adapter | None = None
) -> Measured:
    """Open the model without allocating; with `pager`, its experts go to the pager.

    Raises as measure(), require_whole(), require_openable() and require_computable().
    """
    require_whole(model)
    require_openable(model, options, adapter)
    measured = _measured(model, options, pager, adapter)
    require_computable(model, measured.traits)
    return measured


def checkpoint_bytes(model: ModelFile, options: EngineOptions) -> int:
    """Bytes of what cannot be cut back in one sequence: recurrent states and sliding windows.

    By the declaration; without one, as the engine says: what of a context does not grow with its length, at
    lengths beyond every window; at most the whole context. Raises as dry_load().
    """
    if model.family.declared:
        task = Task(
            context=options.context, ubatch=options.ubatch, type_k=options.type_k, type_v=options.type_v
        )
        return declared_bytes(anatomy(model), task)
    alone = replace(options, sequences=1)
    measured = dry_load(model, alone)
    if not (measured.traits.recurrent or measured.traits.window):
        return 0
    beyond = (measured.traits.window + options.ubatch) // CONTEXT_STEP + 1
    whole = engine_bytes(measured).context_bytes
    if beyond > _MOST_STEPS:
        return whole
    longer = (replace(alone, context=n * CONTEXT_STEP) for n in (beyond, beyond + 1))
    first, second = (engine_bytes(_measured(model, options)).context_bytes for options in longer)
    return min(max(0, first - beyond * (second - first)), whole)


def _measured(
    model: ModelFile, options: EngineOptions, pager: Pager | None = None, adapter: Adapter | None = None
) -> Measured:
    stream = ModelStream(model, page=pager is not None)
    try:
        return measure(model.parts, options, stream.source, adapter, pager)
    finally:
        stream.close()


def engine_figures(model: ModelFile, task: Task, threads: int) -> EngineFigures:
    """The engine's own figures for a model that lies here, with everything in main memory.

    They raise as dry_load() and require_runnable(); an embedding model has some, to be served.
    """
    options = engine_options(task, threads)
    asked = replace(options, pooling=pooling_of(model) if task.kind == "run" else None)

    def figures(placement: Placement, mode: Mode) -> EngineBytes:
        assert placement.gpu is None, "the engine is asked about main memory only"
        with ExitStack() as pagers:
            pager = pagers.enter_context(closing(Pager(model))) if mode == "paged" else None
            measured = dry_load(model, replace(options, extra_buffers=pager is None), pager)
        require_runnable(model, measured.traits, asked)
        return engine_bytes(measured)

    return figures


def engine_options(task: Task, threads: int) -> EngineOptions:
    """What a plan's task opens a model with, all in main memory."""
    return EngineOptions(task.context, task.ubatch, threads, task.type_k, task.type_v)


def engine_bytes(measured: Measured, on_device: bool = False) -> EngineBytes:
    """The engine's figures for main memory, or for all GPUs together. Paged experts count as cache, not as
    weights. process: this one as it was with the model open and nothing of it allocated.
    """
    process, buffers = measured.process, [b for b in measured.buffers if _is_host(b.buffer) is not on_device]
    return EngineBytes(
        weights_bytes=sum(b.model_bytes for b in buffers if b.buffer != PAGED_BUFFER),
        context_bytes=sum(b.context_bytes for b in buffers),
        compute_bytes=sum(b.compute_bytes for b in buffers),
        source=MEASURED,
        process=ProcessBytes(process.anonymous_bytes + process.shared_bytes, process.file_bytes),
    )


def _is_host(buffer: str) -> bool:
    """By the engine's names: "CPU", "CPU_REPACK", "CUDA_Host", our own; a device's is "CUDA0", say."""
    return buffer.startswith(("CPU", "SIXGIG")) or buffer.endswith("_Host")


def measure(
    path: Path | Sequence[Path],
    options: EngineOptions,
    source: Callable[[], int] | None = None,
    adapter: Adapter | None = None,
    pager: Pager | None = None,
) -> Measured:
    """What Engine(path, options) would take; reads metadata only, hundredths of a second.

    Exact for llama.cpp's own buffers. Routed experts count as weights here, whoever will hold them. An
    adapter is loaded for a moment, since it changes the graph: what that costs counts, its own bytes do not.
    Raises as Engine does.
    """
    library = load_library()
    parts = (path,) if isinstance(path, Path) else tuple(path)
    model = load_weights(library, parts, options, source, allocate=False, pager=pager)
    try:
        context = _context(library, model, options, options.n_outputs)
        try:
            give_back()  # what an earlier load left to the heap is used again
            process = process_memory()
            if adapter is not None:
                adapter.apply(library, context, adapter.load(library, model))
                process = _grown(process, sum(adapter.file.sizes_bytes))
            graphs = evaluation_bytes(library.c, context)
            process = replace(process, anonymous_bytes=process.anonymous_bytes + graphs)
            buffers = memory_breakdown(library.c, context)
            if options.sequences > 1:
                buffers = _widest(buffers, _asked_by_one(library, model, options))
            measured = Measured(buffers, process, model_traits(library.c, model, context))
        finally:
            library.c.llama_free(context)
    finally:
        library.c.llama_model_free(model)
    return measured


def _context(library: Library, model: int, options: EngineOptions, n_outputs: int) -> int:
    params = library.c.llama_context_default_params()
    options.apply_to_context(params)
    params.n_outputs_max = n_outputs
    context: int | None = library.c.llama_init_from_model(model, params)
    if context is None:
        raise EngineError("llama.cpp cannot plan a context", library.log.complaint())
    return context


def _asked_by_one(library: Library, model: int, options: EngineOptions) -> tuple[BufferNeed, ...]:
    """What the graph of a prompt that one sequence has to itself takes.

    Of some architectures more than that of several: for MiniMax-01 and Kimi Linear the engine makes room
    but leaves it out of what it says of a model without weights; for MiniMax-M3 it finds out while running.
    """
    alone = replace(options, sequences=1)
    context = _context(library, model, alone, options.n_outputs)
    try:
        return memory_breakdown(library.c, context)
    finally:
        library.c.llama_free(context)


def _widest(buffers: tuple[BufferNeed, ...], others: tuple[BufferNeed, ...]) -> tuple[BufferNeed, ...]:
    """`buffers`, each with the scratch of the one that takes more."""
    scratch = {need.buffer: need.compute_bytes for need in others}
    return tuple(
        replace(need, compute_bytes=max(need.compute_bytes, scratch.get(need.buffer, 0))) for need in buffers
    )


def _grown(before: ProcessMemory, loaded_bytes: int) -> ProcessMemory:
    """The process now, less what was loaded: a graph planned anew leaves holes where the first one was."""
    give_back()
    now = process_memory()
    return replace(now, anonymous_bytes=max(before.anonymous_bytes, now.anonymous_bytes - loaded_bytes))
