"""What the gateway adds: the same request to it and to the engine behind it, in turns.

    python -m bench.serving.overhead --requests 400
    python -m bench.serving.overhead --requests 400 --against CHECKOUT

One token is asked for, so that little else is measured; all connections are kept open. Told for whole answers
and for the first byte of a stream, with the processor time that the gateway's process took for each request.
A relay that passes bytes on unread is asked in the same turns: less cannot be added by a process in between.
With --against the same is asked of the server of another checkout too, so that a busy machine is busy for
all. CHECKOUT is a worktree of the commit before, say; it runs in this interpreter's environment, with this
checkout's native libraries where it has none of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import shutil
import time
from pathlib import Path

import httpx
import numpy as np

from bench.serving.relay import relaying
from bench.serving.server import ROOT, Served, serving

BODY = {"model": "demo", "prompt": "Abstract", "max_tokens": 1, "temperature": 0}
NATIVE = Path("sixgig", "pager")


class Contestant:
    """One server: clients of its gateway, of a relay and of the engine behind it."""

    def __init__(self, served: Served, stack: contextlib.ExitStack) -> None:
        self.served = served
        self.gateway = stack.enter_context(httpx.Client(base_url=served.base_url, timeout=60))
        timed(self.gateway, BODY)
        time.sleep(1.5)  # the status tells the engine's process a second later at most
        transport = httpx.HTTPTransport(uds=served.engine_socket())
        relay = stack.enter_context(relaying(served.engine_socket()))
        self.relay = stack.enter_context(httpx.Client(base_url=relay, timeout=60))
        self.engine = stack.enter_context(
            httpx.Client(base_url="http://engine", transport=transport, timeout=60)
        )


def timed(http: httpx.Client, body: dict[str, object]) -> float:
    """Milliseconds until the first byte of the body."""
    began = time.perf_counter()
    with http.stream("POST", "/v1/completions", json=body) as response:
        pieces = response.iter_raw()
        next(pieces)
        elapsed = time.perf_counter() - began
        for _ in pieces:
            continue
    return 1000 * elapsed


def compare(
    contestants: dict[str, Contestant], body: dict[str, object], n: int
) -> dict[str, dict[str, float]]:
    """All of them in turns, each with its own engine; the order changes from turn to turn."""
    took: dict[str, list[list[float]]] = {name: [] for name in contestants}
    busy_ms = dict.fromkeys(contestants, 0.0)
    orders = itertools.cycle(itertools.permutations(contestants))
    doors = itertools.cycle(itertools.permutations(range(3)))
    for _, order in zip(range(n), orders, strict=False):
        for name in order:
            one = contestants[name]
            before_s = one.served.processor_s()
            door = dict(enumerate((one.gateway, one.engine, one.relay)))
            times = {which: timed(door[which], body) for which in next(doors)}
            busy_ms[name] += 1000 * (one.served.processor_s() - before_s)
            took[name].append([times[which] for which in range(3)])
    return {name: _figures(np.array(trials), busy_ms[name] / n) for name, trials in took.items()}


def _figures(trials: np.ndarray, processor_ms: float) -> dict[str, float]:
    through, direct, relayed = np.percentile(trials, 50, axis=0)
    return {
        "gateway_ms": float(through),
        "engine_ms": float(direct),
        "overhead_p50_ms": float(through - direct),
        "overhead_of_pairs_p50_ms": float(np.median(trials[:, 0] - trials[:, 1])),
        "relay_overhead_p50_ms": float(relayed - direct),
        "gateway_p99_ms": float(np.percentile(trials[:, 0], 99)),
        "engine_p99_ms": float(np.percentile(trials[:, 1], 99)),
        "gateway_processor_ms": processor_ms,
    }


def shares(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    """This checkout's figures as parts of the other's."""
    names = ("overhead_p50_ms", "overhead_of_pairs_p50_ms", "gateway_processor_ms")
    return {name: figures["this"][name] / figures["other"][name] for name in names}


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    arguments = parser.parse_args()
    checkouts = {"this": ROOT} | ({"other": arguments.against.resolve()} if arguments.against else {})
    document: dict[str, object] = {"requests": arguments.requests}
    with contextlib.ExitStack() as stack:
        contestants = {}
        for name, checkout in checkouts.items():
            lend_libraries(checkout)
            served = stack.enter_context(serving("--ram", "2G", checkout=checkout))
            contestants[name] = Contestant(served, stack)
        for kind, more in (("whole", {}), ("streamed", {"stream": True})):
            figures = compare(contestants, BODY | more, arguments.requests)
            document[kind] = figures | ({"this_of_other": shares(figures)} if "other" in figures else {})
    print(json.dumps(document, indent=2))


def lend_libraries(checkout: Path) -> None:
    """A worktree has no native libraries until it is built."""
    for library in (ROOT / NATIVE).glob("*.so"):
        if not (checkout / NATIVE / library.name).exists():
            shutil.copy(library, checkout / NATIVE)


if __name__ == "__main__":
    main()
