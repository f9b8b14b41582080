"""What the gateway knows of a model before any process runs it: from its header alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from sixgig.errors import ModelFileError
from sixgig.inference.options import CONTEXT_STEP, EngineOptions
from sixgig.inference.purpose import placeholder, pooling_of, require_text, require_vocabulary, require_whole
from sixgig.inference.serving import serving_needs
from sixgig.modelfile import ModelFile, open_model
from sixgig.modelfile.label import label
from sixgig.modelfile.lora import find_lora
from sixgig.modelfile.lora_fit import check_lora, require_unmerged
from sixgig.modelfile.names import model_name
from sixgig.planning import ModelNeeds, Task, Tier, anatomy, estimated_process, smallest_budget
from sixgig.planning.context import checkpoint_bytes

DEFAULT_CONTEXT = 4096


@dataclass(frozen=True)
class ModelSpec:
    """A model as the owner wants it served. ram_bytes: at most so much for it; None: what there is.

    keep_alive_s: None, the server's; below zero, for ever.
    """

    name: str
    path: Path
    context: int | None = None
    sequences: int = 1
    ram_bytes: int | None = None
    pooling: str | None = None
    adapter: Path | None = None
    keep_alive_s: float | None = None


@dataclass(frozen=True)
class ModelCard:
    """Facts and needs. whole_bytes: the budget to load all of it; paged_bytes: the least with paging.

    Both are estimated from the header, as `sixgig plan` does, or are the least there can be where the header
    does not tell; the engine process has the last word. ubatch:
    the whole context where a text becomes one embedding, for it is evaluated at once. context: what a request
    gets, prompt and answer together; trained_context: what the model was trained for, and so the most.
    warning: what its owner should know, "" for nothing.
    """

    spec: ModelSpec
    architecture: str
    size_bytes: int
    n_parameters: int
    file_type: str
    context: int
    trained_context: int
    ubatch: int
    pooling: str | None
    modified_ns: int
    whole_bytes: int
    paged_bytes: int | None
    chat_template: str | None
    tool_template: str | None = None
    warning: str = ""

    @property
    def name(self) -> str:
        """What requests call it."""
        return self.spec.name

    @property
    def shows_tools(self) -> bool:
        """Whether a template of its speaks of tools, so that the model may hear of them."""
        templates = (self.chat_template, self.tool_template)
        return any("tools" in text or "functions" in text for text in templates if text)


def model_card(spec: ModelSpec, ubatch: int = 512) -> ModelCard:
    """Read the headers once, of the model and its adapter.

    Raises ModelFileError, also where the two do not fit or the model is none to serve, UsageError for a
    context that cannot be.
    """
    _require_unicode(spec.path)
    model = open_model(spec.path)
    require_whole(model)
    require_vocabulary(model)
    if spec.adapter is not None:
        adapter = find_lora(spec.adapter)
        check_lora(adapter, model)
        require_unmerged(adapter, model)
    trained = model.context_length or spec.context or DEFAULT_CONTEXT
    context = _served_context(spec.context or DEFAULT_CONTEXT, trained)
    pooling = spec.pooling or pooling_of(model)
    if pooling is None:
        require_text(model)
    ubatch = context if pooling else ubatch
    options = EngineOptions(context=context, sequences=spec.sequences, ubatch=ubatch)
    return ModelCard(
        spec=spec,
        architecture=model.architecture,
        size_bytes=model.size_bytes,
        n_parameters=sum(math.prod(tensor.shape) for tensor in model.tensors),
        file_type=label(model_name(spec.path.name), model.headers),
        context=context,
        trained_context=trained,
        ubatch=ubatch,
        pooling=pooling,
        modified_ns=max(part.modified_ns for part in model.fingerprints),
        whole_bytes=_smallest(model, options, paged=False),
        paged_bytes=_smallest(model, options, paged=True) if model.routed_bytes else None,
        chat_template=model.chat_template,
        tool_template=model.metadata.text("tokenizer.chat_template.tool_use"),
        warning=placeholder(model),
    )


def _require_unicode(path: Path) -> None:
    """The engine takes its paths as UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise ModelFileError(f"{str(path)!a} is no name in UTF-8", cure="rename it") from error


def _served_context(asked: int, trained: int) -> int:
    """As the engine's server gives it: in steps of CONTEXT_STEP, and never more than was trained for."""
    return min(-(-asked // CONTEXT_STEP) * CONTEXT_STEP, trained)


def _smallest(model: ModelFile, options: EngineOptions, paged: bool) -> int:
    """The smallest budget of one mode, the server counted."""
    task = Task(context=options.context, sequences=options.sequences, ubatch=options.ubatch)
    parts = anatomy(model)
    kept = checkpoint_bytes(parts, task) if model.family.declared else 0
    uses = ModelNeeds(parts, task, beside=serving_needs(model, options, kept))
    needs = uses.by_header("paged" if paged else "unpaged", estimated_process(parts, task))
    return smallest_budget(needs.least_bytes(Tier.RAM))
