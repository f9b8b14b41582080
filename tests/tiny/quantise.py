"""Rows of float32 to any storage type: by gguf where it can, else by ggml itself."""

import ctypes
from functools import cache

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import quantize
from numpy.typing import NDArray


def fitting(type_name: str, row_length: int) -> GGMLQuantizationType:
    """The wanted type, or where a row is no whole number of blocks the next simpler one that fits."""
    for name in (type_name, "Q8_0", "F16"):
        kind = GGMLQuantizationType[name]
        if row_length % GGML_QUANT_SIZES[kind][0] == 0:
            return kind
    raise AssertionError("F16 fits any row")


def stored(values: NDArray[np.float32], kind: GGMLQuantizationType) -> NDArray[np.generic]:
    """The values in `kind`, as GGUFWriter.add_tensor wants them: numbers for floats, bytes for the rest."""
    if kind in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
        return values.astype(np.float32 if kind is GGMLQuantizationType.F32 else np.float16)
    try:
        return quantize(values, kind)
    except NotImplementedError:
        return _quantised_by_ggml(values, kind)


def _quantised_by_ggml(values: NDArray[np.float32], kind: GGMLQuantizationType) -> NDArray[np.uint8]:
    rows = np.ascontiguousarray(values, np.float32)
    block_elements, block_bytes = GGML_QUANT_SIZES[kind]
    row_length = rows.shape[-1]
    out = np.empty((*rows.shape[:-1], row_length // block_elements * block_bytes), np.uint8)
    n_rows = rows.size // row_length
    written = _ggml().ggml_quantize_chunk(
        int(kind), rows.ctypes.data, out.ctypes.data, 0, n_rows, row_length, None
    )
    assert written == out.nbytes
    return out


@cache
def _ggml() -> ctypes.CDLL:
    from xllamacpp import xllamacpp

    library = ctypes.CDLL(xllamacpp.__file__)
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    return library
