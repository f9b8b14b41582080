"""One run of the paged engine on a token file: `python -m bench.ours MODEL TOKENS --ram 1.6G [options]`.

Prints one line of JSON: the figures of `bench.stock`, the budget, the predicted peak, and the pager's
counters for the prompt and for decoding apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from bench.forced import run_forced
from bench.stock import add_run_options
from bench.tokens import read_tokens
from sixgig.errors import SixgigError
from sixgig.units import parse_size


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.ours", description=__doc__)
    parser.add_argument("--ram", required=True, help="budget of the whole process, for example 1.6G")
    parser.add_argument("--always-page", action="store_true", help="page even a file that fits")
    add_run_options(parser)
    options = parser.parse_args(arguments)
    try:
        print(json.dumps(_measure(options)))
    except SixgigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    tokens, started = read_tokens(options.tokens), time.perf_counter()
    with _open(options) as engine:
        load_seconds = time.perf_counter() - started
        snapshots = [counters(engine)]
        figures = run_forced(
            engine,
            tokens,
            options.prompt,
            options.decode_seconds,
            after_prefill=lambda: snapshots.append(counters(engine)),
        )
        snapshots.append(counters(engine))
    return figures.as_json() | {
        "engine": "ours",
        "load_seconds": load_seconds,
        "ram_budget_bytes": parse_size(options.ram),
        "predicted_peak_memory_bytes": getattr(engine, "predicted_peak_memory_bytes", None),
        "prefill_counters": difference(snapshots[0], snapshots[1]),
        "decode_counters": difference(snapshots[1], snapshots[2]),
    }


def _open(options: argparse.Namespace) -> Any:
    """The engine, a context manager with prefill, decode and counters."""
    from sixgig.inference.paged import open_engine

    return open_engine(
        options.model,
        ram_bytes=parse_size(options.ram),
        context=options.context,
        ubatch=options.ubatch,
        threads=options.threads,
        always_page=options.always_page,
    )


def counters(engine: Any) -> dict[str, float]:
    """The engine's numeric counters by name."""
    now = engine.counters()
    fields: Mapping[str, Any] = asdict(now) if is_dataclass(now) and not isinstance(now, type) else dict(now)
    return {name: value for name, value in fields.items() if isinstance(value, int | float)}


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each counter grew by."""
    return {name: value - before.get(name, 0) for name, value in after.items()}


if __name__ == "__main__":
    sys.exit(main())
