"""A model's tokenizer and chat template without its weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sixgig.errors import ModelFileError
from sixgig.inference.chat import ChatTemplate
from sixgig.inference.loading import load_weights
from sixgig.inference.options import EngineOptions
from sixgig.inference.tokens import Vocabulary
from sixgig.inference.trial import require_openable
from sixgig.llamacpp import load_library
from sixgig.modelfile import ModelFile
from sixgig.pager.pager import ModelStream


@dataclass(frozen=True)
class Tokenizer:
    """vocabulary: text to tokens and back. template: messages to text; ChatML where the model has none."""

    vocabulary: Vocabulary
    template: ChatTemplate


@contextmanager
def open_tokenizer(model: ModelFile) -> Iterator[Tokenizer]:
    """While the block runs; nothing but metadata is read. Raises ModelFileError where there is none,
    or one that the engine would end the process over.
    """
    if not model.n_vocab:
        cure = "convert the model again"
        raise ModelFileError(f"{model.name} has no tokenizer", "tokenizer.ggml.tokens is missing", cure)
    require_openable(model)
    library, stream = load_library(), ModelStream(model, page=False)
    try:
        loaded = load_weights(library, model.parts, EngineOptions(), stream.source, allocate=False)
    finally:
        stream.close()
    try:
        vocabulary = Vocabulary(library, loaded)
        yield Tokenizer(vocabulary, _template(model, vocabulary))
    finally:
        library.c.llama_model_free(loaded)


def _template(model: ModelFile, vocabulary: Vocabulary) -> ChatTemplate:
    names = (vocabulary.bos, vocabulary.eos)
    return ChatTemplate(
        model.chat_template, *names, adds_bos=vocabulary.adds_bos, adds_eos=vocabulary.adds_eos
    )
