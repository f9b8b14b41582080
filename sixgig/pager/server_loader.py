"""How llama.cpp's own HTTP server gets its model and its slots from us: the C interface of native/server/.

The library is opened before the engine's, into the global scope, where its llama_model_load_from_file, its
llama_decode, its guard of grammars and its conversion of Anthropic's requests come first. Linux only: other
systems bind a library's calls to itself.
"""

import ctypes
import functools
import sys
from ctypes import CFUNCTYPE, POINTER, Structure, c_double, c_int, c_void_p
from typing import Any

from sixgig.errors import EngineError
from sixgig.llamacpp.grammars import ACCEPT_TOKEN, APPLY, STACKS
from sixgig.pager.native import library_path

CHOOSE_THREADS = CFUNCTYPE(c_int, c_double)


class ServerLoad(Structure):
    """What a load is given: a stream, llama_model_params, where to report, a native function.

    And what evaluations go through: the engine's llama_decode and llama_set_n_threads, and who chooses how
    many threads.
    """

    _fields_ = (
        ("source", c_void_p),
        ("params", c_void_p),
        ("report_fd", c_int),
        ("calls", c_int),
        ("weights_allocated", c_void_p),
        ("decode", c_void_p),
        ("set_threads", c_void_p),
        ("choose_threads", CHOOSE_THREADS),
    )


@functools.cache
def open_server_loader() -> ctypes.CDLL:
    """The library; to be called before the engine's is opened. Raises EngineError where it cannot work."""
    if sys.platform != "linux":
        raise EngineError("serving works on Linux only so far", f"this is {sys.platform}", "use sixgig run")
    path = library_path("sixgig_server_loader")
    try:
        library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise EngineError(
            "the server's loader does not load", str(error), "reinstall sixgig with a C++17 compiler at hand"
        ) from error
    library.sixgig_prepare_server_load.argtypes = (POINTER(ServerLoad),)
    library.sixgig_prepare_server_load.restype = None
    library.sixgig_prepare_messages.argtypes, library.sixgig_prepare_messages.restype = (c_void_p,), c_int
    library.sixgig_guard_grammars.argtypes = (c_void_p,) * 3
    library.sixgig_guard_grammars.restype = None
    return library


def guard_grammars(loader: ctypes.CDLL, c: ctypes.CDLL) -> None:
    """To be called once the engine's library is open, before it follows a grammar."""
    loader.sixgig_guard_grammars(*(address_of(c[name]) for name in (ACCEPT_TOKEN, APPLY, STACKS)))


def address_of(function: Any) -> int:
    """Where a C function lies."""
    return ctypes.cast(function, c_void_p).value or 0
