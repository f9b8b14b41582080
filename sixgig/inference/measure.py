"""The bytes a model and a context will take, before any of them is allocated."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sixgig.errors import EngineError
from sixgig.hardware.memory import ProcessMemory, give_back, process_memory
from sixgig.inference.adapters import Adapter
from sixgig.inference.loading import load_weights
from sixgig.inference.options import EngineOptions
from sixgig.llamacpp import (
    BufferNeed,
    Library,
    ModelTraits,
    evaluation_bytes,
    load_library,
    memory_breakdown,
    model_traits,
)
from sixgig.pager.pager import Pager


@dataclass(frozen=True)
class Measured:
    """buffers: what the engine would allocate, by buffer type. process: this process with the model open but
    nothing of that allocated (interpreter, library, vocabulary), and the graphs it evaluates with. traits:
    what the model is."""

    buffers: tuple[BufferNeed, ...]
    process: ProcessMemory
    traits: ModelTraits


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
