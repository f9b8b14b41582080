"""The graph that the engine plans for a model: what kind of a model it is, and what kernels would abort on.

Asked of the engine, for it alone knows all architectures. What builds a graph asserts that shapes fit; a few
numbers of a header meet their assertion in a kernel only, when text is evaluated.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_float, c_uint32, c_void_p
from dataclasses import dataclass
from functools import cache

from sixgig.errors import EngineError
from sixgig.llamacpp.pin import CURE_DAMAGED
from sixgig.llamacpp.structs import Tensor

_RESERVE = "_Z19llama_graph_reserveP13llama_contextjjj"
_MOST_NODES = "_ZNK13llama_context15graph_max_nodesEj"
_MOST_OPERATIONS = 256
_SECTIONED = 8  # GGML_ROPE_TYPE_MROPE, a bit of the mode


@dataclass(frozen=True)
class ModelTraits:
    """generates: its graph ends in a score for each token of the vocabulary, not in an embedding.

    diffusion: it fills in a whole text at once. encodes: a text goes through an encoder first, before the
    decoder (decodes) or instead of it. window: positions a sliding layer looks back, 0 where none slides.
    recurrent: some layers keep a state. fault: what a kernel would end the process over, "" for nothing.
    """

    generates: bool
    diffusion: bool
    encodes: bool
    decodes: bool
    window: int
    recurrent: bool
    fault: str = ""


def model_traits(c: ctypes.CDLL, model: int, context: int) -> ModelTraits:
    """The traits of an open model, its weights loaded or not; the next evaluation plans its graph anew.

    Raises EngineError where the library has no such function.
    """
    graph = _planned(c, context)
    result = Tensor.from_address(c.ggml_graph_node(graph, -1))
    return ModelTraits(
        generates=result.ne[0] == c.llama_vocab_n_tokens(c.llama_model_get_vocab(model)),
        diffusion=c.llama_model_is_diffusion(model),
        encodes=c.llama_model_has_encoder(model),
        decodes=c.llama_model_has_decoder(model),
        window=c.llama_model_n_swa(model),
        recurrent=c.llama_model_is_recurrent(model) or c.llama_model_is_hybrid(model),
        fault=_fault(c, graph),
    )


def evaluation_bytes(c: ctypes.CDLL, context: int) -> int:
    """What the process takes once text is evaluated and not before: a graph with outputs and, for a prompt
    of several micro-batches, one without, each with room for the most nodes that the engine foresees.

    Raises EngineError where the library does not say how many.
    """
    n_context, n_ubatch = c.llama_n_ctx(context), c.llama_n_ubatch(context)
    function = ctypes.CFUNCTYPE(c_uint32, c_void_p, c_uint32)(_address(c, _MOST_NODES))
    n_nodes = function(context, min(n_context, n_ubatch))
    one = c.ggml_tensor_overhead() * n_nodes + c.ggml_graph_overhead_custom(n_nodes, False)
    n_graphs = 2 if n_context > n_ubatch else 1
    return n_graphs * int(one)


@cache
def operation(c: ctypes.CDLL, name: bytes) -> int:
    """The number of an operation in ggml's enumeration."""
    for number in range(_MOST_OPERATIONS):
        if c.ggml_op_name(number) == name:
            return number
    raise EngineError(f"the llama.cpp library has no operation {name.decode()}", cure=CURE_DAMAGED)


def _planned(c: ctypes.CDLL, context: int) -> int:
    """The graph of one token for each sequence, valid until another is planned."""
    reserve = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_uint32, c_uint32, c_uint32)(_address(c, _RESERVE))
    n_sequences = c.llama_n_seq_max(context)
    graph: int | None = reserve(context, n_sequences, n_sequences, n_sequences)
    if graph is None:
        raise EngineError("llama.cpp cannot plan a graph")
    return graph


def _address(c: ctypes.CDLL, function: str) -> int:
    if not hasattr(c, function):
        raise EngineError("the llama.cpp library cannot say what a model computes", f"no {function}")
    return ctypes.cast(getattr(c, function), c_void_p).value or 0


def _fault(c: ctypes.CDLL, graph: int) -> str:
    """The first thing in a graph that its kernel asserts on; source: ggml-cpu's ops.cpp."""
    checks: dict[int, Callable[[Tensor], str]] = {
        operation(c, b"NORM"): lambda node: _epsilon_fault(node, 0),
        operation(c, b"RMS_NORM"): lambda node: _epsilon_fault(node, 0),
        operation(c, b"L2_NORM"): lambda node: _epsilon_fault(node, 0),
        operation(c, b"GROUP_NORM"): lambda node: _epsilon_fault(node, 1),
        operation(c, b"ROPE"): _rope_fault,
    }
    for number in range(c.ggml_graph_n_nodes(graph)):
        node = Tensor.from_address(c.ggml_graph_node(graph, number))
        check = checks.get(node.op)
        if check is not None and (fault := check(node)):
            return f"{node.name.decode(errors='replace')}: {fault}"
    return ""


def _epsilon_fault(node: Tensor, place: int) -> str:
    epsilon = c_float.from_buffer(node.op_params, 4 * place).value
    return "" if 0.0 <= epsilon < 1.0 else f"a norm with an epsilon of {epsilon}"


def _rope_fault(node: Tensor) -> str:
    """Channels turn in pairs, from an offset on; with sections, each pair belongs to one of four."""
    width, turned, first = node.ne[0], node.op_params[1], node.op_params[15]
    if not (0 < turned <= width - first and turned % 2 == 0 and first >= 0 and first % 2 == 0):
        return f"{turned} of {width} channels to rotate"
    sections = list(node.op_params[11:15])
    if node.op_params[2] & _SECTIONED and not (
        min(sections) >= 0 < max(sections[:3]) <= width >= sum(sections)
    ):
        return f"{width} channels in sections of {sections}"
    return ""
