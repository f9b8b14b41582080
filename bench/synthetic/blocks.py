"""Random quantised weights at disk speed: a small pool is quantised once, then drawn from block by block."""

from __future__ import annotations

import ctypes
from functools import cache
from math import gcd

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from sixgig.llamacpp import load_library

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

POOL_ELEMENTS = 1 << 19
CHUNK_ELEMENTS = 256


def row_bytes(type_name: str, n_elements: int) -> int:
    """Size in bytes of `n_elements` of a ggml type; ValueError when they do not fill whole blocks."""
    block_elements, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[type_name]]
    if n_elements % block_elements:
        raise ValueError(f"{n_elements} elements are no multiple of {type_name}'s block of {block_elements}")
    return n_elements // block_elements * block_bytes


def quantise(rows: Floats, type_name: str) -> Bytes:
    """Rows (n, width) of floats as ggml blocks: (n, bytes per row). Uses ggml's own quantiser."""
    if type_name == "F32":
        return np.ascontiguousarray(rows).view(np.uint8)
    source = np.ascontiguousarray(rows, dtype=np.float32)
    n_rows, width = source.shape
    out = np.empty((n_rows, row_bytes(type_name, width)), dtype=np.uint8)
    even, type_id = np.ones(width, dtype=np.float32), int(GGMLQuantizationType[type_name])
    addresses = [array.ctypes.data for array in (source, out, even)]
    written = _quantise_chunk()(type_id, *addresses[:2], 0, n_rows, width, addresses[2])
    if written != out.nbytes:
        raise ValueError(f"ggml wrote {written} bytes of {type_name}, {out.nbytes} expected")
    return out


class Pool:
    """Normal weights of one type and standard deviation; `draw` gives fresh arrangements of its blocks."""

    def __init__(self, type_name: str, std: float, width: int, rng: np.random.Generator) -> None:
        block_elements, _ = GGML_QUANT_SIZES[GGMLQuantizationType[type_name]]
        self.chunk_elements = max(block_elements, gcd(width, CHUNK_ELEMENTS))
        shape = (POOL_ELEMENTS // self.chunk_elements, self.chunk_elements)
        floats = rng.standard_normal(shape, dtype=np.float32)
        self._chunks = quantise(floats * np.float32(std), type_name)
        self._rng = rng

    def draw(self, n_elements: int) -> Bytes:
        """`n_elements` weights as raw bytes, one-dimensional."""
        picks = self._rng.integers(0, len(self._chunks), n_elements // self.chunk_elements)
        return self._chunks[picks].reshape(-1)


@cache
def _quantise_chunk() -> ctypes._NamedFuncPointer:
    function = load_library().c.ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]
    return function
