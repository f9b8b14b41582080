"""One run of the paged engine on a token file: `python -m bench.ours MODEL TOKENS --ram 1.6G [options]`.

Prints one line of JSON: the figures of `bench.stock`, the budget, the predicted peak, and the pager's
counters for the prompt and for decoding apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.forced import Logits, run_forced
from bench.stock import add_run_options
from bench.tokens import read_tokens
from sixgig.errors import SixgigError
from sixgig.hardware.peak import PeakSampler
from sixgig.inference import EngineOptions
from sixgig.inference.load import BudgetedEngine, open_engine
from sixgig.inference.request import PagingOptions
from sixgig.units import parse_size


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.ours", description=__doc__)
    parser.add_argument("--ram", required=True, help="budget of the whole process, for example 1.6G")
    parser.add_argument("--always-page", action="store_true", help="page even a file that fits")
    parser.add_argument("--no-read-ahead", action="store_true", help="read no expert before it is asked for")
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
    with PeakSampler() as memory, _open(options) as engine:
        load_seconds = time.perf_counter() - started
        snapshots = [counters(engine)]
        figures = run_forced(
            _Runner(engine),
            tokens,
            options.prompt,
            options.decode_seconds,
            after_prefill=lambda: snapshots.append(counters(engine)),
        )
        snapshots.append(counters(engine))
    return figures.as_json() | {
        "engine": "ours",
        "mode": engine.plan.mode,
        "load_seconds": load_seconds,
        "ram_budget_bytes": engine.plan.ram_budget_bytes,
        "predicted_peak_memory_bytes": engine.plan.predicted_peak_bytes,
        "memory_peak": asdict(memory.peak),
        "prefill_counters": difference(snapshots[0], snapshots[1]),
        "decode_counters": difference(snapshots[1], snapshots[2]),
    }


class _Runner:
    """The engine as run_forced() wants it."""

    def __init__(self, engine: BudgetedEngine) -> None:
        self._engine = engine

    def prefill(self, tokens: Sequence[int]) -> Logits:
        self._engine.prefill(tokens)
        return self._engine.logits()

    def decode(self, token: int) -> Logits:
        return self._engine.decode(token)


def _open(options: argparse.Namespace) -> BudgetedEngine:
    return open_engine(
        options.model,
        parse_size(options.ram),
        EngineOptions(context=options.context, ubatch=options.ubatch, threads=options.threads),
        PagingOptions(always=options.always_page, read_ahead=not options.no_read_ahead),
    )


def counters(engine: BudgetedEngine) -> dict[str, float]:
    """The pager's counters by name; none when the model runs unpaged."""
    now = engine.counters()
    return asdict(now) if now else {}


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each counter grew by."""
    return {name: value - before.get(name, 0) for name, value in after.items()}


if __name__ == "__main__":
    sys.exit(main())
