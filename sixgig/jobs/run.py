"""Open a model to generate with."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from sixgig.inference.request import PagingOptions
from sixgig.jobs.door import door
from sixgig.jobs.model import Model
from sixgig.jobs.opening import Opening, find_adapter, find_model, require_resources
from sixgig.jobs.reporter import Request
from sixgig.modelfile import ModelFile
from sixgig.typed import at_least


@dataclass(frozen=True)
class LoadRequest(Request):
    """Sizes are bytes; where `= None` is shown, None means the default told here.

    model: a GGUF file (any part of a split one), "hf:OWNER/REPO[:QUANT|:FILE]", fetched where it is not here,
        or None: a small demo in the package.
    ram: memory budget of the whole process, whatever else it holds; by default what is free, less a margin.
    vram: use a GPU, with this much of its memory; by default none.
    context: tokens the model sees at once, prompt and answer together; by default the model's own, at most
        4096.
    threads: that compute; by default as many as there are performance cores that others leave free.
    ubatch: prompt tokens evaluated together; by default 512.
    adapter: a LoRA made for this model, a GGUF file or the folder that tune writes.
    paging: how experts are paged where the model is larger than the budget.
    checkpoint: also keep, where a model has recurrent layers or sliding windows, a copy of their state before
        each prompt, so that the next one need not begin anew; False saves its memory where there is but one.
    trace: file for a record of which experts were used, for the cache simulator.
    remember: keep speed, memory and hit rate (no text) for plan() to learn from, as `sixgig run` does; for a
        process that does nothing else, since its memory is what is measured.
    """

    model: str | Path | ModelFile | None = None
    _: KW_ONLY
    ram: int | None = None
    vram: int | None = None
    context: int | None = None
    threads: int | None = None
    ubatch: int | None = None
    adapter: str | Path | None = None
    paging: PagingOptions | None = None
    checkpoint: bool = True
    trace: str | Path | None = None
    remember: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        super().__post_init__()
        require_resources(self.ram, self.vram, self.threads, self.ubatch)
        at_least(1, "--context", self.context)


def _load(request: LoadRequest) -> Model:
    """Open a model within a memory budget, ready to generate with.

    A model that fits runs whole; of a larger mixture of experts a part of the experts stays in memory, the
    others are read when they are needed. Several models may be open at once, loaded by any thread; `ram` is
    the budget of the process, so each must leave room for the others. Close it, or use it in a with block.

    Raises BudgetError, whose words tell the smallest budget that works, ModelFileError, EngineError,
    ReadError and UsageError.
    """
    model = find_model(request.model, request.listener)
    adapter = find_adapter(request.adapter, model)
    opening = Opening(
        model,
        request.ram,
        request.vram or 0,
        request.context,
        request.threads,
        request.ubatch,
        request.paging,
        checkpoint=request.checkpoint,
        adapter=adapter,
    )
    trace = None if request.trace is None else Path(request.trace)
    # an adapter costs time that the model does not
    return Model(opening, request.listener, trace, request.remember and adapter is None)


load = door(LoadRequest, _load)
"""Open a model within a memory budget; arguments: LoadRequest."""
