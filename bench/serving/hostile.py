"""Hostile bodies against a server, while a well-behaved client asks all the time.

    python -m bench.serving.hostile --bodies 200

Every process runs under a limit of address space, so that this machine survives whatever happens. Printed, as
one JSON document: what became of the bodies, how many of the other client's answers were right, the most that
each process held beside what it was granted, the longest turn of the gateway's event loop.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.serving.hostile_bodies import HostileBody, hostile_bodies
from bench.serving.watched import longest

ADDRESS_BYTES, RAM_BYTES = 8 << 30, 600 << 20
AT_ONCE, PATIENCE_S, SAMPLE_S = 4, 120, 0.02
GOOD_GRAMMAR = 'root ::= "The answer is " [0-9] "."'
_STARTED = re.compile(r"at (http://\S+)")


@dataclass
class Outcome:
    """statuses: of hostile bodies; failed: what no client should see. engines: their process ids."""

    statuses: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    right: int = 0
    wrong: list[str] = field(default_factory=list)
    slowest_right_s: float = 0.0
    granted_bytes: int = 0
    engine_peak_bytes: int = 0
    checker_peak_bytes: int = 0
    engines: set[int] = field(default_factory=set)
    longest_turn: dict[str, Any] = field(default_factory=dict)

    @property
    def engine_share(self) -> float:
        """Of its grant, the most that an engine held."""
        return self.engine_peak_bytes / self.granted_bytes


def run(n: int, seed: int, model: Path) -> Outcome:
    """The whole trial, in a server of its own."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder), model) as (url, process, turns):
        stop = threading.Event()
        httpx.post(f"{url}/v1/completions", json={"prompt": "a", "max_tokens": 1}, timeout=PATIENCE_S)
        sampler = threading.Thread(target=_sample, args=(url, process.pid, outcome, stop))
        sampler.start()
        try:
            asyncio.run(_trial(url, hostile_bodies(n, seed, model.stem), outcome))
        finally:
            stop.set()
            sampler.join()
        outcome.longest_turn = longest(turns)
    return outcome


@contextmanager
def _server(folder: Path, model: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    turns, log = folder / "turns", folder / "log"
    command = [sys.executable, "-m", "bench.serving.watched", str(turns), str(model), str(RAM_BYTES)]
    with log.open("w") as said:
        process = subprocess.Popen(
            command,
            stderr=said,
            env=os.environ | {"XDG_DATA_HOME": str(folder)},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES)),
        )
    try:
        yield _until(lambda: _STARTED.search(log.read_text()), process, log)[1], process, turns
        process.send_signal(signal.SIGTERM)
        if process.wait(PATIENCE_S) != 0:
            raise RuntimeError(f"the server ended badly: {log.read_text()[-2000:]}")
    finally:
        process.kill()
        process.wait()


def _until(found: Callable[[], Any], process: subprocess.Popen[bytes], log: Path) -> Any:
    while process.poll() is None:
        if it := found():
            return it
        time.sleep(0.05)
    raise RuntimeError(f"the server ended: {log.read_text()}")


async def _trial(url: str, bodies: Iterator[HostileBody], outcome: Outcome) -> None:
    done = asyncio.Event()
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as http:
        good = asyncio.create_task(_ask_well(http, outcome, done))
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(_attack(http, bodies, outcome))
        done.set()
        await good


async def _attack(http: httpx.AsyncClient, bodies: Iterator[HostileBody], outcome: Outcome) -> None:
    for hostile in bodies:
        try:
            response = await http.post(
                hostile.path, content=hostile.body, headers={"content-type": "application/json"}
            )
        except httpx.HTTPError as error:
            outcome.failed.append(f"{hostile.name} at {hostile.path}: {type(error).__name__}")
            continue
        outcome.statuses[response.status_code] += 1

        if fault := _fault(hostile, response):
            outcome.failed.append(f"{hostile.name} at {hostile.path}: {fault}")


def _fault(hostile: HostileBody, response: httpx.Response) -> str | None:
    """An answer, or a refusal in its API's own shape; the fault is never the server's."""
    if response.status_code >= 500:
        return f"status {response.status_code}: {response.text[:200]}"
    if response.status_code == 200:
        return None
    told = response.json().get("error")
    words = told if hostile.path.startswith("/api/") else told.get("message")
    return None if isinstance(words, str) and words else f"no error's shape: {response.text[:200]}"


async def _ask_well(http: httpx.AsyncClient, outcome: Outcome, done: asyncio.Event) -> None:
    body = {
        "messages": [{"role": "user", "content": "What is the answer?"}],
        "grammar": GOOD_GRAMMAR,
        "max_tokens": 40,
    }
    while not done.is_set():
        began_s = time.monotonic()
        try:
            response = await http.post("/v1/chat/completions", json=body)
            text = response.json()["choices"][0]["message"]["content"]
        except (httpx.HTTPError, ValueError, LookupError) as error:
            outcome.wrong.append(repr(error)[:200])
            continue
        outcome.slowest_right_s = max(outcome.slowest_right_s, time.monotonic() - began_s)
        if re.fullmatch(r"The answer is [0-9]\.", text):
            outcome.right += 1
        else:
            outcome.wrong.append(text)


def _sample(url: str, pid: int, outcome: Outcome, stop: threading.Event) -> None:
    """What the engine and the processes that try grammars hold, all the while."""
    gateway = psutil.Process(pid)
    while not outcome.granted_bytes and not stop.wait(SAMPLE_S):  # the status is a second old at most
        status = httpx.get(f"{url}/status.json", timeout=PATIENCE_S).json()
        outcome.granted_bytes = status["models"][0]["granted_bytes"]
    while not stop.wait(SAMPLE_S):
        checkers = 0
        for child in gateway.children(recursive=True):
            try:
                held_bytes, words = child.memory_info().rss, child.cmdline()
            except psutil.Error:
                continue
            if "sixgig.engines.child" in words:
                outcome.engines.add(child.pid)
                outcome.engine_peak_bytes = max(outcome.engine_peak_bytes, held_bytes)
                if held_bytes > 4 * outcome.granted_bytes:
                    child.kill()  # what this is to show has failed
            elif "sixgig.grammars.child" in words:
                with suppress(psutil.Error):
                    checkers += child.memory_full_info().pss  # forks share most of what they hold
        outcome.checker_peak_bytes = max(outcome.checker_peak_bytes, checkers)


def main() -> None:
    """Print one JSON document."""
    from tests.serve.served import tool_caller

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(arguments.bodies, arguments.seed, tool_caller(Path(folder, "tools.gguf")))
    document = vars(outcome) | {"engine_share": outcome.engine_share, "engines": len(outcome.engines)}
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
