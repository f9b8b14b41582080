"""A program that is not ours, whose engine loads our library by itself: code for a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOAD = """
import ctypes, sys
from pathlib import Path
import numpy as np
from sixgig.errors import SixgigError
from sixgig.llamacpp import load_library
from sixgig.pager.native import library_path, load_native
from tests.paged.engines import *
c = load_library().c
c.ggml_backend_load.restype, c.ggml_backend_load.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
c.ggml_backend_reg_name.restype, c.ggml_backend_reg_name.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
registry = c.ggml_backend_load(str(library_path()).encode())
name = c.ggml_backend_reg_name(registry) if registry else b"refused"
"""
COMPUTE = """
pager = environment_pager()
model, out = open_model(Path(sys.argv[1])), Path(sys.argv[2])
with Engine(model.parts, OPTIONS) as engine:
    np.save(out, logits_of(engine))
    print(name.decode(), pager.counters().misses if pager._handle else "no pager")
"""


def run(code, *arguments, **environment):
    """LOAD and `code` in a new interpreter: `name` says what was registered; arguments are sys.argv[1:]."""
    return subprocess.run(
        [sys.executable, "-c", LOAD + code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
