"""The process that tries grammars: `python -m sixgig.grammars.child`.

It holds the engine's library and forks for every request, so that what a grammar does ends with the fork.
stdin: requests, each its length and a marshalled (number, items); stdout: a line of JSON for each, with its
number and "refused": the three parts of an error, or null. Ends with its stdin.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import marshal
import os
import signal
import struct
import sys
from functools import cache
from pathlib import Path
from typing import BinaryIO

import sixgig
from sixgig.errors import UsageError
from sixgig.grammars.trial import MOST_BYTES, MOST_CPU_S, Item, limit, needs_vocabulary, parts, try_item
from sixgig.llamacpp.grammars import GrammarCode
from sixgig.llamacpp.library import load_library

LENGTH = struct.Struct("<Q")
MOST_FORKS = 64
_TOO_MUCH = "the grammar is too much for the engine"
_CURE = "make it simpler: fewer and smaller bounds, less nesting"
_GOOD, _REFUSED = 0, 3
_PR_SET_PDEATHSIG = 1
_VOCABULARY = Path(sixgig.__file__).parent / "demo" / "pep-moe-31m.gguf"

Refusal = tuple[str, str, str]


def main() -> None:
    """Serve until stdin closes."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks that answer
    code = GrammarCode(load_library().c)
    print(json.dumps({"ready": True}), flush=True)
    while len(head := sys.stdin.buffer.read(LENGTH.size)) == LENGTH.size:
        number, raw = marshal.loads(sys.stdin.buffer.read(*LENGTH.unpack(head)))
        items = [Item(*one) for one in raw]
        if any(needs_vocabulary(item) for item in items):
            _vocabulary()
        if os.fork() == 0:
            refused = _judged(items, code)
            os.write(1, json.dumps({"number": number, "refused": refused}).encode() + b"\n")
            os._exit(0)


def _judged(items: list[Item], code: GrammarCode) -> Refusal | None:
    """Try them in forks: in one, as long as nothing ends it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    waiting, place = list(items), 0
    for _ in range(MOST_FORKS):
        if place == len(waiting):
            return None
        status, reached, said = _tried(waiting[place:], code)
        if status == _GOOD:
            return None
        place += reached
        item = waiting[place]
        if status == _REFUSED:
            what, numbers, cure = json.loads(said)
            return what, numbers, cure
        if why := _excess(status, said):
            return _TOO_MUCH, f"{item.name} {why}", _CURE
        # The engine refuses it in its own words; but for a tool it may ask for less than the whole.
        waiting[place : place + 1] = parts(item)
    return _TOO_MUCH, f"{waiting[place].name} has more than {MOST_FORKS} faults", _CURE


def _excess(status: int, said: str) -> str | None:
    """Why a fork ended, unless the engine threw an error that it would also tell a client."""
    number = -os.waitstatus_to_exitcode(status)
    if number in (signal.SIGXCPU, signal.SIGKILL, signal.SIGPROF, signal.SIGALRM):
        return f"takes more than {MOST_CPU_S} s to read"
    if "bad_alloc" in said or "MemoryError" in said or "memory allocation" in said:
        return f"takes more than {MOST_BYTES >> 20} MiB of memory"
    if number == signal.SIGABRT and "terminate called" in said:
        return None
    return "is nested too deeply or too large"


def _tried(items: list[Item], code: GrammarCode) -> tuple[int, int, str]:
    """Wait status of a fork that tries them in turn, how many it got through, what it said last."""
    reached, said = os.memfd_create("reached"), os.memfd_create("said")
    fork = os.fork()
    if fork == 0:
        os.dup2(said, 2)
        _try_all(items, code, reached, said)
    _, status = os.waitpid(fork, 0)
    with open(said, "rb") as words, open(reached, "rb") as count:
        words.seek(0)
        count.seek(0)
        return status if status != _REFUSED << 8 else _REFUSED, len(count.read()), _words(words)


def _try_all(items: list[Item], code: GrammarCode, reached: int, said: int) -> None:
    """In the fork; does not return."""
    try:
        vocabulary = _vocabulary() if any(map(needs_vocabulary, items)) else None
        limit()
        for item in items:
            try_item(item, code, vocabulary)
            if b"bad_alloc" in os.pread(
                said, 4096, 0
            ):  # which the engine's parser takes for a fault of the text
                raise MemoryError
            os.write(reached, b".")
    except UsageError as error:
        os.ftruncate(said, 0)
        os.pwrite(said, json.dumps((error.what, error.numbers, error.cure)).encode(), 0)
        os._exit(_REFUSED)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}"[:200].encode("utf-8", "replace"))
        os._exit(1)
    os._exit(_GOOD)


def _words(file: BinaryIO) -> str:
    return file.read(4096).decode("utf-8", "replace")


@cache
def _vocabulary() -> tuple[int, int]:
    """A small model's, without its weights."""
    c = load_library().c
    params = c.llama_model_default_params()
    params.vocab_only = True
    model = c.llama_model_load_from_file(str(_VOCABULARY).encode(), params)
    vocabulary = c.llama_model_get_vocab(model)
    return vocabulary, c.llama_vocab_n_tokens(vocabulary)


if __name__ == "__main__":
    main()
