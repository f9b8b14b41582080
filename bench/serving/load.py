"""Many clients at once, each answer checked against its own prompt.

    python -m bench.serving.load --clients 200 --seconds 60

Every request carries a grammar that allows one answer only, its own number, so that an answer that reached
another client, or lost a piece, shows. A refusal (503) is waited out as the server asks. The memory of both
processes is sampled all the while.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import numpy as np
import psutil

from bench.serving.server import Served, serving

SAMPLE_S = 0.1


@dataclass
class Outcome:
    """seconds: of whole answers, refusals left out; first_s: until their first piece."""

    seconds: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class MemoryPeak:
    """The most that each process held, sampled in a thread while the block runs."""

    def __init__(self, **pids: int) -> None:
        self.began = {name: psutil.Process(pid).memory_info().rss for name, pid in pids.items()}
        self.peak = dict(self.began)
        self._pids, self._stop = pids, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> MemoryPeak:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            for name, pid in self._pids.items():
                self.peak[name] = max(self.peak[name], psutil.Process(pid).memory_info().rss)


async def client(number: int, base_url: str, until_s: float, outcome: Outcome) -> None:
    """Ask, check, ask again, until the time is over."""
    rng = random.Random(number)
    async with httpx.AsyncClient(base_url=base_url, timeout=120) as http:
        while time.monotonic() < until_s:
            await ask(http, f"client {number} word {rng.getrandbits(40)}", outcome)


async def ask(http: httpx.AsyncClient, answer: str, outcome: Outcome) -> None:
    """One request whose only possible answer is `answer`."""
    body = {
        "model": "demo",
        "prompt": f"Repeat: {answer}",
        "grammar": f'root ::= "{answer}"',
        "max_tokens": 64,
        "stream": True,
    }
    began, first, got = time.monotonic(), None, ""
    async with http.stream("POST", "/v1/completions", json=body) as response:
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            outcome.counts["refused"] += 1
            await asyncio.sleep(float(response.headers["retry-after"]) * (0.5 + random.random()))
            return
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                first = first or time.monotonic()
                got += json.loads(line[6:])["choices"][0]["text"]
    outcome.counts["right" if got == answer else "wrong"] += 1
    outcome.seconds.append(time.monotonic() - began)
    outcome.first_s.append((first or time.monotonic()) - began)


async def load(served: Served, n_clients: int, seconds: float) -> Outcome:
    """All clients together."""
    outcome, until_s = Outcome(), time.monotonic() + seconds
    await asyncio.gather(*(client(n, served.base_url, until_s, outcome) for n in range(n_clients)))
    return outcome


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--queue", default="256")
    arguments = parser.parse_args()
    with serving("--ram", "2G", "--queue", arguments.queue) as served:
        asyncio.run(load(served, 1, 1))  # the engine is there
        with MemoryPeak(gateway=served.pid, engine=served.engine_pid()) as memory:
            outcome = asyncio.run(load(served, arguments.clients, arguments.seconds))
    figures = {"p50": 50, "p99": 99}
    document = {
        "clients": arguments.clients,
        **outcome.counts,
        "requests_per_s": len(outcome.seconds) / arguments.seconds,
        "seconds": {name: float(np.percentile(outcome.seconds, q)) for name, q in figures.items()},
        "first_token_s": {name: float(np.percentile(outcome.first_s, q)) for name, q in figures.items()},
        "memory_before_bytes": memory.began,
        "memory_peak_bytes": memory.peak,
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
