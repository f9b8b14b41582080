"""What the gateway adds: the same request to it and to the engine behind it, in turns.

    python -m bench.serving.overhead --requests 400

One token is asked for, so that little else is measured; both connections are kept open. Told for whole
answers and for the first byte of a stream.
"""

from __future__ import annotations

import argparse
import json
import time

import httpx
import numpy as np

from bench.serving.server import serving

BODY = {"model": "demo", "prompt": "Abstract", "max_tokens": 1, "temperature": 0}


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
    gateway: httpx.Client, engine: httpx.Client, body: dict[str, object], n: int
) -> dict[str, object]:
    """Both, alternating, so that a busy machine is busy for both."""
    pairs = np.array([(timed(gateway, body), timed(engine, body)) for _ in range(n)])
    through, direct = np.percentile(pairs, 50, axis=0)
    return {
        "gateway_ms": through,
        "engine_ms": direct,
        "overhead_p50_ms": through - direct,
        "overhead_of_pairs_p50_ms": float(np.median(pairs[:, 0] - pairs[:, 1])),
        "gateway_p99_ms": float(np.percentile(pairs[:, 0], 99)),
        "engine_p99_ms": float(np.percentile(pairs[:, 1], 99)),
    }


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=400)
    n = parser.parse_args().requests
    with serving("--ram", "2G") as served, httpx.Client(base_url=served.base_url, timeout=60) as gateway:
        timed(gateway, BODY)
        time.sleep(1.5)  # the status tells the engine's process a second later at most
        transport = httpx.HTTPTransport(uds=served.engine_socket())
        with httpx.Client(base_url="http://engine", transport=transport, timeout=60) as engine:
            whole = compare(gateway, engine, BODY, n)
            streamed = compare(gateway, engine, BODY | {"stream": True}, n)
    print(json.dumps({"requests": n, "whole": whole, "streamed": streamed}, indent=2))


if __name__ == "__main__":
    main()
