"""The wheel's llama.cpp as a plain C library, without our backend in it."""

from __future__ import annotations

import ctypes
from functools import cache


@cache
def shared_library() -> ctypes.CDLL:
    """The loaded library; ImportError when the wheel is not installed."""
    import xllamacpp

    return ctypes.CDLL(xllamacpp.xllamacpp.__file__, mode=ctypes.RTLD_GLOBAL)
