"""What a model is for: one that generates no text is refused by name, with what works instead.

Covers what the engine says of any architecture. An embedding model that was made of a generating one
generates, if badly: the verbs ask require_text(), which goes by the file, before they open one.
"""

from sixgig.errors import ModelFileError, PurposeError
from sixgig.families.terms.names import DECODER, ENCODER
from sixgig.inference.options import EngineOptions
from sixgig.llamacpp import ModelTraits
from sixgig.modelfile import ModelFile

POOLINGS = {1: "mean", 2: "cls", 3: "last"}  # as GGUF numbers them
_RANK = 4
_NO_VOCABULARY, _PLACEHOLDER = ("none", "no_vocab"), "test"  # as llama.cpp's llama-vocab.cpp takes them


def pooling_of(model: ModelFile) -> str | None:
    """How an embedding model pools, by its file; None for one that generates, or that does not say."""
    return POOLINGS.get(_pooling_number(model))


def require_vocabulary(model: ModelFile) -> None:
    """PurposeError for a file that says it has none: the engine's server ends its process over any text."""
    kind = model.metadata.text("tokenizer.ggml.model")
    if kind in _NO_VOCABULARY:
        what = f"{model.name} has no vocabulary: it reads and gives numbers of tokens, no text"
        cure = "convert it again with its tokenizer, or take another"
        raise PurposeError(what, f"tokenizer.ggml.model is {kind}", cure)


def placeholder(model: ModelFile) -> str:
    """A warning of a vocabulary made for tests, to which text means nothing; "" for any other."""
    if model.metadata.text("tokenizer.ggml.model") != _PLACEHOLDER:
        return ""
    return (
        f"{model.name} has a vocabulary for tests: any text becomes arbitrary tokens, and answers are numbers"
    )


def require_text(model: ModelFile) -> None:
    """PurposeError for a file that says it gives embeddings, or ranks, rather than text."""
    number = _pooling_number(model)
    if number in POOLINGS:
        raise _embeds(model)
    if number == _RANK:
        raise _ranks(model)


def require_computable(model: ModelFile, traits: ModelTraits) -> None:
    """ModelFileError where a kernel would end the process over a number of the header."""
    if traits.fault:
        what = f"llama.cpp cannot run {model.headers[0].source.name}"
        raise ModelFileError(what, traits.fault, "the file is damaged: convert it again, or take another")


def require_whole(model: ModelFile) -> None:
    """PurposeError, by the file, for a draft, which guesses from another's states what that one says, and
    for an encoder before its decoder, which the engine's server does not run either."""
    numbers = model.hyperparameters
    reads_another = f"{model.architecture}.target_layers" in model.metadata
    if reads_another or numbers.n_prediction_layers == numbers.n_layers:
        what = f"{model.name} is a draft for another model ({model.architecture}): nothing runs it by itself"
        raise PurposeError(what, cure="llama.cpp's llama-server takes it beside that model: --model-draft")
    if {ENCODER, DECODER} <= {tensor.name.partition(".")[0] for tensor in model.tensors}:
        raise _translates(model)


def require_runnable(model: ModelFile, traits: ModelTraits, options: EngineOptions) -> None:
    """PurposeError where the engine would end the process, or give nonsense, once it evaluates text;
    ModelFileError where it cannot do so for as many as options.sequences.

    With options.pooling embeddings are all that is asked for.
    """
    if traits.diffusion:
        what = f"{model.name} is a diffusion model ({model.architecture}): sixgig generates token by token"
        raise PurposeError(what, cure="llama.cpp's llama-diffusion-cli runs it")
    if _pooling_number(model) == _RANK:
        raise _ranks(model)
    if options.pooling is None and not (traits.decodes and traits.generates):
        raise _embeds(model)
    if traits.encodes and traits.decodes:
        raise _translates(model)
    if traits.encodes and options.sequences > 1:
        what = f"llama.cpp's encoders ({model.architecture}) read one text at a time"
        raise ModelFileError(what, f"{options.sequences} in parallel asked for", "--parallel 1")


def _pooling_number(model: ModelFile) -> int:
    return model.metadata.integer(f"{model.architecture}.pooling_type") or 0


def _embeds(model: ModelFile) -> PurposeError:
    what = f"{model.name} is an embedding model ({model.architecture}): it generates no text"
    cure = "sixgig serve answers /v1/embeddings with it"
    if not _pooling_number(model):
        cure += ', once its section says how it pools: pooling = "mean", "cls" or "last"'
    return PurposeError(what, cure=cure)


def _ranks(model: ModelFile) -> PurposeError:
    what = f"{model.name} is a reranking model ({model.architecture}): it generates no text"
    return PurposeError(what, cure="llama.cpp's llama-server --rerank serves it")


def _translates(model: ModelFile) -> PurposeError:
    what = f"{model.name} has an encoder before its decoder ({model.architecture})"
    return PurposeError(what, "llama.cpp's server does not run such a model either", "take another")
