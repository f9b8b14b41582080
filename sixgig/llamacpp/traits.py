"""What kind of a model one is, as the engine says: it alone knows all architectures."""

import ctypes
from ctypes import c_uint32, c_void_p
from dataclasses import dataclass

from sixgig.errors import EngineError
from sixgig.llamacpp.structs import Tensor

_GRAPH = "_Z19llama_graph_reserveP13llama_contextjjj"


@dataclass(frozen=True)
class ModelTraits:
    """generates: its graph ends in a score for each token of the vocabulary, not in an embedding.

    diffusion: it fills in a whole text at once. encodes: a text goes through an encoder first, before the
    decoder (decodes) or instead of it. window: positions a sliding layer looks back, 0 where none slides.
    recurrent: some layers keep a state.
    """

    generates: bool
    diffusion: bool
    encodes: bool
    decodes: bool
    window: int
    recurrent: bool


def model_traits(c: ctypes.CDLL, model: int, context: int) -> ModelTraits:
    """The traits of an open model, its weights loaded or not; the next evaluation plans its graph anew.

    Raises EngineError where the library has no such function.
    """
    if not hasattr(c, _GRAPH):
        raise EngineError("the llama.cpp library cannot say what a model computes", f"no {_GRAPH}")
    reserve = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_uint32, c_uint32, c_uint32)(
        ctypes.cast(getattr(c, _GRAPH), c_void_p).value or 0
    )
    graph = reserve(context, 1, 1, 1)
    if not graph:
        raise EngineError("llama.cpp cannot plan a graph")
    result = Tensor.from_address(c.ggml_graph_node(graph, -1))
    return ModelTraits(
        generates=result.ne[0] == c.llama_vocab_n_tokens(c.llama_model_get_vocab(model)),
        diffusion=c.llama_model_is_diffusion(model),
        encodes=c.llama_model_has_encoder(model),
        decodes=c.llama_model_has_decoder(model),
        window=c.llama_model_n_swa(model),
        recurrent=c.llama_model_is_recurrent(model) or c.llama_model_is_hybrid(model),
    )
