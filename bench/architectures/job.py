"""One file opened and asked, in a process that may die of it: `python -m bench.architectures.job`.

An order in JSON on stdin, facts in JSON on stdout; logits go to a file beside.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sixgig.errors import SixgigError
from sixgig.hardware import PeakSampler
from sixgig.inference.dry_load import dry_load, engine_bytes
from sixgig.inference.engine import Engine, Logits
from sixgig.inference.load import BudgetedEngine, open_engine
from sixgig.inference.options import EngineOptions
from sixgig.inference.request import PagingOptions
from sixgig.llamacpp import BufferNeed, memory_breakdown
from sixgig.modelfile import ModelFile, open_model
from sixgig.pager.trace import TraceFile
from sixgig.planning import MemoryPlan, Task, anatomy, footprint
from sixgig.planning.context import context_bytes

OPTIONS = EngineOptions(context=256, ubatch=32, threads=2, extra_buffers=False, all_logits=True)
PROMPT = tuple(3 + i * i * 7 % 121 for i in range(48))  # two evaluations, further back than a window of 32
DECODED = tuple(3 + i * i * 11 % 113 for i in range(8))
BUDGET_BYTES = 1 << 30
SHARES = {"one expert": 0.0, "25%": 0.25, "50%": 0.5}
REFUSED = 3


Work = Callable[[Path, Path], dict[str, Any]]  # of a model's path; arrays go to the other, facts come back


def main() -> int:
    """As answer()."""
    return answer({"stock": _stock, "unpaged": _unpaged, "paged": _paged})


def answer(works: Mapping[str, Work]) -> int:
    """Do what the order on stdin names. The status: 0, or REFUSED with why on stderr."""
    order = json.load(sys.stdin)
    try:
        facts = works[order["work"]](Path(order["path"]), Path(order["logits"]))
    except SixgigError as error:
        print(f"error: {error}", file=sys.stderr)
        return REFUSED
    print(json.dumps(facts))
    return 0


def _stock(path: Path, out: Path) -> dict[str, Any]:
    """The library alone: its own load of the path, nothing of ours registered."""
    with Engine(path, OPTIONS) as engine:
        np.savez(out, stock=_logits(engine))
    return {}


def _unpaged(path: Path, out: Path) -> dict[str, Any]:
    """As users open it, and what memory that was said to take and took."""
    model = open_model(path)
    dry = dry_load(model, OPTIONS)
    with PeakSampler(0.005) as sampler, open_engine(model, BUDGET_BYTES, OPTIONS) as engine:
        opened = memory_breakdown(engine.library.c, engine._context)
        np.savez(out, unpaged=_logits(engine))
        while (
            engine.room >= OPTIONS.ubatch
        ):  # until the context is full: graphs grow with what they look back on
            engine.feed(PROMPT[: OPTIONS.ubatch])
        held = memory_breakdown(engine.library.c, engine._context)
        plan = engine.plan
    return {
        "declared": model.family.declared,
        "mixture": model.routed_bytes > 0,
        "dry": _by_name(dry.buffers),
        "opened": _by_name(opened),
        "held": _by_name(held),
        "dry_context_bytes": engine_bytes(dry).context_bytes,
        "header": _header(model),
    } | _peak(sampler, plan)


def _by_name(needs: tuple[BufferNeed, ...]) -> list[dict[str, Any]]:
    return [vars(need) for need in sorted(needs, key=lambda need: need.buffer)]


def _peak(sampler: PeakSampler, plan: MemoryPlan) -> dict[str, int]:
    return {
        "peak_bytes": sampler.peak.total_bytes,
        "predicted_bytes": plan.predicted_peak_bytes,
        "margin_bytes": plan.margin_bytes,
    }


def _header(model: ModelFile) -> int | str:
    """A context's bytes by the header alone, or why they are not known."""
    try:
        return sum(context_bytes(anatomy(model), Task(context=OPTIONS.context, ubatch=OPTIONS.ubatch)))
    except SixgigError as error:
        return str(error)


def _paged(path: Path, out: Path) -> dict[str, Any]:
    """Unpaged, then with a cache of each share; what was read, and which experts were used."""
    model = open_model(path)
    with open_engine(model, BUDGET_BYTES, OPTIONS, PagingOptions(never=True)) as engine:
        logits = {"unpaged": _logits(engine)}
    facts: dict[str, Any] = {"routed_bytes": model.routed_bytes, "n_experts": model.n_experts}
    for name, share in SHARES.items():
        wanted = int(share * footprint.resident_bytes(model))
        cache_bytes = max(wanted, footprint.smallest_cache_bytes(model))
        paging = PagingOptions(always=True, cache_bytes=cache_bytes)
        with PeakSampler(0.005) as sampler, open_engine(model, BUDGET_BYTES, OPTIONS, paging) as engine:
            facts[name], logits[name] = _watched(engine, cache_bytes)
            plan = engine.plan
        facts[name] |= _peak(sampler, plan)
    np.savez(out, **logits)
    return facts


def _watched(engine: BudgetedEngine, cache_bytes: int) -> tuple[dict[str, Any], Logits]:
    assert engine.pager is not None
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        with engine.pager.tracing(trace):
            logits = _logits(engine)
        used: dict[int, Counter[int]] = {}
        for visit in TraceFile(trace):
            used.setdefault(visit.layer, Counter()).update(visit.experts)
    counters = engine.pager.counters()
    facts = {
        "cache_bytes": cache_bytes,
        "peak_resident_bytes": counters.peak_resident_bytes,
        "bytes_read": counters.bytes_read,
        "misses": counters.misses,
        "evictions": counters.evictions,
        "distinct": {layer: len(seen) for layer, seen in used.items()},
    }
    return facts, logits


def _logits(engine: Engine) -> Logits:
    """After every token of the prompt, then after each decoded one: [tokens, vocabulary]."""
    rows = [engine.all_logits(PROMPT), *(engine.all_logits([token]) for token in DECODED)]
    return np.concatenate(rows)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # at once: what exit handlers stumble over is not this table's matter
