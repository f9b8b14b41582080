"""The engine process: `python -m sixgig.engines.child` reads one order, serves it, and ends with its stdin.

stdout carries events, a JSON document a line: plan, loading, ready or failed, then an answer to each question
asked on stdin: its number and "counters" or "failure". Whatever else is printed goes to stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

from sixgig import errors
from sixgig.engines.order import EngineOrder
from sixgig.errors import SixgigError
from sixgig.hardware import load_machine
from sixgig.inference import Adapter, EngineOptions
from sixgig.inference.dry_load import checkpoint_bytes
from sixgig.inference.memory import arrange
from sixgig.inference.request import MemoryRequest, PagingOptions
from sixgig.inference.serving import EngineServer, Serving, prepare_process, serving_needs
from sixgig.modelfile import open_model
from sixgig.planning import Refusal, Tier

LOG_S = 0.2  # the engine's log is written by a thread of its own, which is to say why
_PR_SET_PDEATHSIG, _M_ARENA_MAX = 1, -8


def main() -> None:
    """Serve until stdin closes, then end at once: the system takes memory, socket and threads back."""
    _die_with_parent()
    _share_one_heap()
    for sign in (signal.SIGINT, signal.SIGHUP):  # a terminal's: for the gateway, which lets requests finish
        signal.signal(sign, signal.SIG_IGN)
    events = _own_stdout()
    order = EngineOrder.parse(sys.stdin.buffer.readline())
    try:
        server = _serve(order, events)
    except SixgigError as error:
        _tell(events, event="failed", **failure(error))
        time.sleep(LOG_S)
        os._exit(1)
    _tell(events, event="ready")
    for line in sys.stdin:
        number, question = line.split()
        _tell(events, event="answer", number=int(number), answer=_answer(server, question))
    os._exit(0)


def failure(error: SixgigError) -> dict[str, Any]:
    """An error as an event carries it; smallest_bytes where more main memory would do."""
    kind = next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
    fields = {"kind": kind, "what": error.what, "numbers": error.numbers, "cure": error.cure}
    enough = error.smallest_bytes if isinstance(error, Refusal) and error.tier is Tier.RAM else None
    return fields | {"smallest_bytes": enough}


def _serve(order: EngineOrder, events: BinaryIO) -> EngineServer:
    prepare_process()
    arrangement = arrange(_request(order))
    _tell(events, event="plan", plan=arrangement.plan.to_json())
    return EngineServer(arrangement, Serving(Path(order.socket), order.name, events.fileno()))


def _request(order: EngineOrder) -> MemoryRequest:
    model = open_model(Path(order.model))
    options = EngineOptions(
        context=order.context,
        sequences=order.sequences,
        ubatch=order.ubatch,
        threads=order.threads,
        pooling=order.pooling,
    )
    return MemoryRequest(
        model,
        order.ram_bytes,
        options,
        PagingOptions(always=order.always_page, never=order.never_page),
        order.vram_bytes,
        load_machine(order.machine) if order.vram_bytes and order.machine is not None else None,
        Adapter.open(Path(order.adapter), model) if order.adapter else None,
        serving_needs(model, options, checkpoint_bytes(model, options)),
    )


def _answer(server: EngineServer, question: str) -> dict[str, Any] | None:
    if question == "failure":
        error = server.take_failure()
        return None if error is None else failure(error)
    counters = server.counters()
    return None if counters is None else counters.to_json()


def _tell(events: BinaryIO, **event: Any) -> None:
    events.write(json.dumps(event).encode() + b"\n")


def _own_stdout() -> BinaryIO:
    """The pipe to the gateway, ours alone: what a library prints goes to stderr instead."""
    events = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return events


def _die_with_parent() -> None:
    """While the model loads nobody reads stdin; the kernel sees to it then."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _share_one_heap() -> None:
    """Each of the server's threads would keep a heap as large as its requests once were (glibc does that)."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


if __name__ == "__main__":
    main()
