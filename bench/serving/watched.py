"""A server with its event loop watched: `python -m bench.serving.watched FILE MODEL RAM_BYTES`, at any port.

What it says and logs goes to stderr; signals end it as they end `sixgig serve`. FILE gets a line of JSON for
each turn of a callback that is longer than any before: the processor's time and the clock's, in seconds, and
what it was.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from sixgig.gateway import logs
from sixgig.jobs.reporter import Reporter
from sixgig.jobs.serve import serve

NOTED_S = 0.005
MOST_NAMES = 16


def watch(file: Path) -> None:
    """From now on, in every loop of this process."""
    longest_s = NOTED_S
    plain = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        nonlocal longest_s
        what = _named(handle)
        worked_s, clock_s = time.thread_time(), time.monotonic()
        plain(handle)
        worked_s, clock_s = time.thread_time() - worked_s, time.monotonic() - clock_s
        if worked_s > longest_s:
            longest_s = worked_s
            with file.open("a") as lines:
                print(json.dumps({"worked_s": worked_s, "clock_s": clock_s, "what": what}), file=lines)

    asyncio.Handle._run = timed  # type: ignore[method-assign]


def _named(handle: asyncio.Handle) -> str:
    """A task's coroutine and what it awaits, as deep as that can be seen."""
    task, names = getattr(handle._callback, "__self__", None), []
    inner = task.get_coro() if isinstance(task, asyncio.Task) else None
    while inner is not None and len(names) < MOST_NAMES:
        names.append(getattr(inner, "__qualname__", type(inner).__name__))
        inner = getattr(inner, "cr_await", None) or getattr(inner, "ag_await", None)
    return " > ".join(names) or repr(handle)


def longest(file: Path) -> dict[str, Any]:
    """The longest turn so far."""
    lines = file.read_text().splitlines() if file.exists() else []
    return json.loads(lines[-1]) if lines else {"worked_s": 0.0, "clock_s": 0.0, "what": ""}


class Told(Reporter):
    """Its words on stderr."""

    def say(self, words: str) -> None:
        """At once."""
        print(words, file=sys.stderr, flush=True)

    warn = say


if __name__ == "__main__":
    file, model, ram_bytes = sys.argv[1:]
    watch(Path(file))
    logs.start()
    serve(model, ram=int(ram_bytes), port=0, reporter=Told()).run()
