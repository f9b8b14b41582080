"""ggml's own quantisers and dequantisers on rows of numbers."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import EngineError
from sixgig.llamacpp.library import load_library

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
_F32 = 0
_TO_FLOAT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


def quantise_rows(type_id: int, values: Floats, importance: Floats | None, out: Bytes) -> None:
    """Rows of `values` [rows, n], contiguous, as blocks into `out` [rows, bytes per row], contiguous.

    importance: [n], the weight of each column's error. Runs without the GIL; safe from several threads once
    `prepare` was called for the type.
    """
    rows, length = values.shape
    c = load_library().c
    written = c.ggml_quantize_chunk(
        type_id,
        values.ctypes.data,
        out.ctypes.data,
        0,
        rows,
        length,
        None if importance is None else importance.ctypes.data,
    )
    if written != out.nbytes:
        raise EngineError("ggml quantised another number of bytes", f"{written} of {out.nbytes}")


def prepare(type_id: int) -> None:
    """Build the type's tables, once for all threads."""
    load_library().c.ggml_quantize_init(type_id)


def needs_importance(type_id: int) -> bool:
    """Whether ggml quantises to this type only with importances."""
    return bool(load_library().c.ggml_quantize_requires_imatrix(type_id))


def dequantise_rows(type_id: int, stored: Bytes, out: Floats) -> None:
    """Blocks, contiguous, as float32 into `out`, contiguous; runs without the GIL."""
    if type_id == _F32:
        out.reshape(-1)[:] = stored.reshape(-1).view(np.float32)
        return
    _to_float(type_id)(stored.ctypes.data, out.ctypes.data, out.size)


@cache
def _to_float(type_id: int) -> Callable[[int, int, int], None]:
    address = load_library().c.ggml_get_type_traits(type_id).contents.to_float
    if not address:
        raise EngineError(f"ggml cannot read storage type {type_id}")
    function: Callable[[int, int, int], None] = _TO_FLOAT(address)
    return function
