"""The tensors that the engine itself wants of a model, told by its loader from the model's settings.

llama.cpp makes a model of a header without tensors where its caller fills them in: it names each one and its
shape, optional ones included. Here it is asked for the list, and nothing is filled in.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import ClassVar

from sixgig.llamacpp import load_library
from sixgig.llamacpp.structs import ModelParams

Shapes = dict[str, tuple[int, ...]]
_EXTENTS = 16  # bytes into ggml_tensor, behind its type and its buffer
_TOLD = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


class _HeaderParams(ctypes.Structure):
    """gguf_init_params."""

    _fields_: ClassVar = [("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p)]


def listed(header: Path) -> Shapes:
    """Every tensor's shape (ne order) by name, of a GGUF that has metadata only.

    Raises ValueError with the engine's words where it refuses; where it aborts, so does this process.
    """
    library = load_library()
    c, shapes = _declared(library.c), Shapes()

    def told(tensor: int, _user_data: object) -> None:
        shape = list((ctypes.c_int64 * 4).from_address(tensor + _EXTENTS))
        while len(shape) > 1 and shape[-1] == 1:
            shape.pop()
        shapes[c.ggml_get_name(tensor).decode()] = tuple(shape)

    params = c.llama_model_default_params()
    params.n_gpu_layers = 0
    library.log.clear()
    metadata = c.gguf_init_from_file(str(header).encode(), _HeaderParams(True, None))
    model = c.llama_model_init_from_user(metadata, _TOLD(told), None, params)
    if not model:
        raise ValueError(f"{header.name}: {library.log.complaint()}")
    c.llama_model_free(model)
    c.gguf_free(metadata)
    return shapes


def _declared(c: ctypes.CDLL) -> ctypes.CDLL:
    pointer = ctypes.c_void_p
    for function, result, arguments in (
        (c.gguf_init_from_file, pointer, (ctypes.c_char_p, _HeaderParams)),
        (c.gguf_free, None, (pointer,)),
        (c.ggml_get_name, ctypes.c_char_p, (pointer,)),
        (c.llama_model_init_from_user, pointer, (pointer, _TOLD, pointer, ModelParams)),
    ):
        function.restype, function.argtypes = result, arguments
    return c
