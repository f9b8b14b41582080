"""The engine's server computes on threads that are chosen anew while it serves, unless they were named."""

import subprocess
import sys

from tests.serve.engine_processes import completion, own_completion, running
from tests.serve.loops import in_loop

# The loader alone, its engine made of Python functions: what every evaluation of the server goes through.
LOADER = """
from ctypes import CFUNCTYPE, Structure, c_int, c_int32, c_void_p, addressof, cast
from sixgig.pager.server_loader import CHOOSE_THREADS, ServerLoad, open_server_loader

class Batch(Structure):
    _fields_ = tuple((f"field{n}", c_void_p) for n in range(7))

said, counts = [], iter((2, 2, 2, 1, 1, 1, 2, 2))
decode = CFUNCTYPE(c_int32, c_void_p, Batch)(lambda context, batch: batch.field6)
set_threads = CFUNCTYPE(None, c_void_p, c_int32, c_int32)(lambda *arguments: said.append(arguments))
def choose(idle_s):
    said.append("long idle" if idle_s > 1 else "at once")
    return next(counts)
loader = open_server_loader()
loader.llama_decode.argtypes = (c_void_p, Batch)
print(loader.llama_decode(5, Batch(field6=7)))
load = ServerLoad(
    decode=cast(decode, c_void_p).value,
    set_threads=cast(set_threads, c_void_p).value,
)
loader.sixgig_prepare_server_load(load)
print(loader.llama_decode(5, Batch(field6=7)), said)
load.choose_threads = CHOOSE_THREADS(choose)
print([loader.llama_decode(5, Batch(field6=n)) for n in range(1, 5)], said)
"""


def test_evaluations_pass_with_threads_set_where_the_count_has_changed() -> None:
    done = subprocess.run([sys.executable, "-c", LOADER], capture_output=True, text=True, timeout=120)
    once = "at once"
    said = [once, (5, 2, 2), once, once, once, once, (5, 1, 1), once, once, (5, 2, 2), once]
    assert done.stdout.splitlines() == [
        "-3",
        "7 []",
        f"[1, 2, 3, 4] {said}",
    ], done.stderr


@in_loop
async def test_an_engine_that_chooses_its_threads_answers_as_one_with_two(tiny) -> None:
    path = tiny("qwen3moe")
    async with running(path, threads=0) as engine:
        assert await completion(engine) == own_completion(path)
