"""What comes back when a model leaves for want of requests.

    python -m bench.serving.idle_exit MODEL.gguf --ram 2G

One request, then nothing until the engine's process is gone; then one more. Memory is what the system says is
available, so that nothing hides in a cache or in another process.
"""

from __future__ import annotations

import argparse
import json
import time

import httpx
import psutil

from bench.serving.server import serving

KEEP_ALIVE_S = 3


def available() -> int:
    """Bytes that the system could give to a new process."""
    return int(psutil.virtual_memory().available)


def ask(http: httpx.Client) -> float:
    """Seconds that one short answer takes."""
    began = time.monotonic()
    model = http.get("/v1/models").json()["data"][0]["id"]
    body = {"model": model, "prompt": "Abstract", "max_tokens": 4}
    http.post("/v1/completions", json=body).raise_for_status()
    return time.monotonic() - began


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--ram", default="2G")
    arguments = parser.parse_args()
    options = (arguments.model, "--ram", arguments.ram, "--keep-alive", f"{KEEP_ALIVE_S}s")
    with serving(*options) as served, httpx.Client(base_url=served.base_url, timeout=300) as http:
        before = available()
        first_s = ask(http)
        time.sleep(1.5)  # the status is at most a second old
        engine = psutil.Process(served.engine_pid())
        loaded, held = available(), engine.memory_info().rss
        began = time.monotonic()
        engine.wait(60)
        gone_s = time.monotonic() - began
        time.sleep(0.5)
        after = available()
        again_s = ask(http)
    document = {
        "engine_resident_bytes": held,
        "available_before_bytes": before,
        "available_loaded_bytes": loaded,
        "available_after_exit_bytes": after,
        "returned_bytes": after - loaded,
        "left_after_s": gone_s,
        "first_answer_s": first_s,
        "answer_after_exit_s": again_s,
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
