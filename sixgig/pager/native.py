"""The native library's C interface (native/api.cpp), and nothing else."""

import ctypes
import functools
import sys
import threading
from ctypes import (
    POINTER,
    Structure,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_uint64,
    c_void_p,
)
from pathlib import Path
from typing import Any

from sixgig.errors import EngineError
from sixgig.llamacpp import load_library
from sixgig.llamacpp.pin import CURE as ENGINE_CURE

SEGMENT_HEADER = -2
_ONE_OPENS = threading.Lock()
_CURE = "reinstall sixgig with a C++17 compiler at hand: pip install --force-reinstall sixgig"


class OpenedFile(Structure):
    """A part file as it was when its header was read."""

    _fields_ = (("path", c_char_p), ("size", c_uint64), ("inode", c_uint64), ("modified_ns", c_int64))


class PagedTensor(Structure):
    """One expert tensor: where its bytes lie and whose layer it is."""

    _fields_ = (
        ("name", c_char_p),
        ("file_offset", c_uint64),
        ("size_bytes", c_uint64),
        ("layer", c_int32),
        ("part", c_int32),
        ("n_experts", c_int32),
        ("reserved", c_int32),
    )


class StreamSegment(Structure):
    """A stretch of the stream that the engine loads from."""

    _fields_ = (
        ("start", c_uint64),
        ("size", c_uint64),
        ("offset", c_uint64),
        ("part", c_int32),
        ("skip", c_int32),
    )


class NativeCounters(Structure):
    """Field for field what Counters carries."""

    _fields_ = (
        *((name, c_uint64) for name in ("hits", "misses", "evictions", "bytes_read", "visits")),
        *((name, c_uint64) for name in ("predicted", "predicted_useful", "predicted_wasted")),
        *((name, c_uint64) for name in ("resident_bytes", "peak_resident_bytes")),
        *((name, c_double) for name in ("read_s", "stall_s", "compute_s")),
    )


class Failure(Structure):
    """What a failed read left behind."""

    _fields_ = (
        ("path", c_char * 1024),
        ("reason", c_char * 64),
        ("offset", c_uint64),
        ("error_number", c_int32),
        ("reserved", c_int32),
    )


_FILES = POINTER(OpenedFile)
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "sixgig_interface_mismatch": (c_char_p, ()),
    "sixgig_register": (None, ()),
    "sixgig_pager_open": (
        c_void_p,
        (_FILES, c_int, POINTER(PagedTensor), c_int, c_int, POINTER(Failure)),
    ),
    "sixgig_pager_close": (None, (c_void_p,)),
    "sixgig_pager_buffer_type": (c_void_p, (c_void_p,)),
    "sixgig_pager_has_placed": (c_int, (c_void_p, c_int)),
    "sixgig_pager_configure": (None, (c_void_p, c_uint64, c_int)),
    "sixgig_pager_set_router": (
        None,
        (c_void_p, c_int, c_int, c_int, POINTER(c_float), POINTER(c_float)),
    ),
    "sixgig_advise_huge_pages": (None, ()),
    "sixgig_pager_counters": (None, (c_void_p, POINTER(NativeCounters))),
    "sixgig_pager_reset_counters": (None, (c_void_p,)),
    "sixgig_pager_take_failure": (c_int, (c_void_p, POINTER(Failure))),
    "sixgig_pager_start_trace": (c_int, (c_void_p, c_char_p)),
    "sixgig_pager_stop_trace": (c_int, (c_void_p,)),
    "sixgig_open_model_stream": (
        c_void_p,
        (_FILES, c_int, POINTER(StreamSegment), c_int, c_char_p, c_uint64, POINTER(c_void_p)),
    ),
    "sixgig_failure_of": (c_int, (c_void_p, POINTER(Failure))),
    "sixgig_free_failure": (None, (c_void_p,)),
}


def library_path(name: str = "sixgig_pager") -> Path:
    """Where the build puts a native library: beside this file."""
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    return Path(__file__).with_name(f"lib{name}{suffix}")


def load_native() -> ctypes.CDLL:
    """The native library, checked against the engine and registered with it; EngineError otherwise.

    For all threads; the first call must not meet a load in another thread, whose engine looks at what is
    registered.
    """
    with _ONE_OPENS:
        return _open_native()


@functools.cache
def _open_native() -> ctypes.CDLL:
    load_library()
    try:
        native = ctypes.CDLL(str(library_path()))
    except OSError as error:
        raise EngineError("the native pager does not load", str(error), _CURE) from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(native, name)
        function.restype, function.argtypes = result, arguments
    mismatch = native.sixgig_interface_mismatch()
    if mismatch:
        raise EngineError("the native pager does not match the engine", mismatch.decode(), ENGINE_CURE)
    native.sixgig_register()
    return native
