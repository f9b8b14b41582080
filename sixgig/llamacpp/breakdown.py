"""How many bytes a context needs, as llama.cpp counts them itself.

`llama_get_memory_breakdown` is an exported C++ function that returns a std::map from buffer type to sizes.
Its layout is that of libstdc++: a header with the root and the count, nodes with two children, key and value.
The nodes are never freed: under a hundred bytes per buffer type and call.
"""

import ctypes
from collections.abc import Iterator
from ctypes import c_size_t, c_uint64, c_void_p
from dataclasses import dataclass

from sixgig.errors import EngineError

_FUNCTION = "_Z26llama_get_memory_breakdownPK13llama_context"
_RESERVE = "_ZN13llama_context13sched_reserveEv"
_MAX_BUFFER_TYPES = 64


class _Map(ctypes.Structure):
    _fields_ = (
        ("compare", c_uint64),
        ("colour", c_uint64),
        ("root", c_void_p),
        ("first", c_void_p),
        ("last", c_void_p),
        ("count", c_size_t),
    )


class _Node(ctypes.Structure):
    _fields_ = (
        ("colour", c_uint64),
        ("parent", c_void_p),
        ("left", c_void_p),
        ("right", c_void_p),
        ("buffer_type", c_void_p),
        ("model", c_size_t),
        ("context", c_size_t),
        ("compute", c_size_t),
    )


@dataclass(frozen=True)
class BufferNeed:
    """Bytes one buffer type ("CPU", "CPU_REPACK", a device) holds: weights, KV cache and states, scratch."""

    buffer: str
    model_bytes: int
    context_bytes: int
    compute_bytes: int


def memory_breakdown(c: ctypes.CDLL, context: int) -> tuple[BufferNeed, ...]:
    """What `context` and its model hold, or would hold when loaded with no_alloc.

    Raises EngineError where the library has no such function or another C++ runtime's map.
    """
    if not hasattr(c, _FUNCTION):
        raise EngineError("the llama.cpp library cannot say how much memory it needs", f"no {_FUNCTION}")
    address = ctypes.cast(getattr(c, _FUNCTION), c_void_p).value or 0
    result = ctypes.CFUNCTYPE(_Map, c_void_p)(address)(context)
    if not 0 < result.count <= _MAX_BUFFER_TYPES:
        raise EngineError("the llama.cpp library's memory table is unreadable", f"{result.count} entries")
    needs = tuple(_walk(c, result.root))
    if len(needs) != result.count:
        raise EngineError("the llama.cpp library's memory table is unreadable", f"{len(needs)} entries found")
    return needs


def plan_buffers(c: ctypes.CDLL, context: int) -> None:
    """Plan graph and scratch of a changed `context` now: llama.cpp would at its next evaluation.

    As then, the process ends where memory is short. EngineError where the library has no such function.
    """
    if not hasattr(c, _RESERVE):
        raise EngineError("the llama.cpp library cannot say how much memory it needs", f"no {_RESERVE}")
    address = ctypes.cast(getattr(c, _RESERVE), c_void_p).value or 0
    ctypes.CFUNCTYPE(None, c_void_p)(address)(context)


def _walk(c: ctypes.CDLL, address: int | None) -> Iterator[BufferNeed]:
    if address:
        node = _Node.from_address(address)
        yield from _walk(c, node.left)
        name = c.ggml_backend_buft_name(node.buffer_type).decode()
        yield BufferNeed(name, node.model, node.context, node.compute)
        yield from _walk(c, node.right)
