"""One prediction held against one run: `python -m bench.plan_case MODEL --ram 1.6G [options]`.

Plans the model from its header, then with the engine's own figures, then runs it: a prompt, then tokens one
by one. Buffers are used in full only where the context is: `--prompt 0` fills it. Prints one line of JSON.
What is measured is the process, with what the program loads beside the engine: give it one of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import rich.progress  # noqa: F401 (the program has it loaded, and its memory is predicted)

from bench.tokens import stream_for
from sixgig.errors import SixgigError
from sixgig.hardware import Absent, Machine, PeakSampler
from sixgig.hardware.conditions import Watch
from sixgig.inference import EngineOptions
from sixgig.inference.history import past_runs
from sixgig.inference.load import BudgetedEngine, open_engine
from sixgig.inference.request import PagingOptions
from sixgig.jobs.lessons import Pace, learn
from sixgig.jobs.machines import known_machine
from sixgig.jobs.opening import Opened
from sixgig.modelfile import ModelFile, open_model
from sixgig.planning import (
    PUBLISHED,
    HitCurve,
    Lesson,
    MemoryPlan,
    ModelNeeds,
    Placement,
    Predictor,
    Speed,
    Task,
    Tier,
    anatomy,
    basis_of,
    estimated_engine,
    estimated_process,
    fit,
    lesson,
)
from sixgig.units import parse_size

WARM_TOKENS = 48  # decoded before timing begins: a cache that is still filling is not what is predicted


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        print(json.dumps(_case(options)))
    except SixgigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _case(options: argparse.Namespace) -> dict[str, Any]:
    model, ram_bytes = open_model(options.model), parse_size(options.ram)
    engine_options = EngineOptions(
        options.context, options.ubatch, options.threads, options.type_k, options.type_v
    )
    options.prompt = options.prompt or options.context - WARM_TOKENS - options.decode
    task = Task("run", options.context, options.ubatch, options.type_k, options.type_v, options.prompt)
    tokens = stream_for(options.model).draw(options.prompt + WARM_TOKENS + options.decode, options.seed)
    machine = known_machine(options.model.parent)
    with PeakSampler() as sampler, open_engine(model, ram_bytes, engine_options, PagingOptions()) as engine:
        watch = Watch()
        timings = _run(engine, tokens, options.prompt)
        plan, counters = engine.plan, engine.counters()
    peak = sampler.peak.total_bytes
    records = past_runs(options.history)
    known = basis_of(machine, plan.mode)
    learned = lesson(records, machine.identity, model.name, model.size_bytes, plan.mode, known)
    if options.history is not None:
        prompt_s, decode_s = timings["measured_prompt_s"], timings["measured_decode_s"] * options.decode
        pace = Pace(options.prompt, prompt_s, options.decode, decode_s)
        learn(Opened(engine, model, 0.0, sampler, watch), pace, options.history)
    header = _header_plan(model, task, plan)
    return {
        "model": model.architecture,
        "size_bytes": model.size_bytes,
        "mode": plan.mode,
        "context": options.context,
        "kv": f"{options.type_k}/{options.type_v}",
        "ram_budget_bytes": ram_bytes,
        "peak_bytes": peak,
        "predicted_bytes": plan.predicted_peak_bytes,
        "header_bytes": header.predicted_peak_bytes,
        "margin_bytes": plan.margin_bytes,
        "tiers": {need.use.label: need.size_bytes for need in plan.at(Tier.RAM)},
        "header_tiers": {need.use.label: need.size_bytes for need in header.at(Tier.RAM)},
        "hit_rate": counters.hit_rate if counters else None,
        **timings,
        "n_runs": learned.n_runs if learned.same_model else 0,
        "decode_factor": learned.decode_factor,
        **_predicted(machine, model, task, plan, options.trace),
    }


def _run(engine: BudgetedEngine, tokens: list[int], n_prompt: int) -> dict[str, float]:
    started = time.perf_counter()
    engine.prefill(tokens[:n_prompt])
    prompt_s = time.perf_counter() - started
    for token in tokens[n_prompt : n_prompt + WARM_TOKENS]:
        engine.feed([token])
    if engine.pager is not None:
        engine.pager.reset_counters()
    seconds = []
    for token in tokens[n_prompt + WARM_TOKENS :]:
        begin = time.perf_counter()
        engine.feed([token])
        seconds.append(time.perf_counter() - begin)
    return {
        "measured_prompt_s": prompt_s,
        "measured_decode_s": sum(seconds) / len(seconds),
        "median_decode_s": median(seconds),
    }


def _header_plan(model: ModelFile, task: Task, plan: MemoryPlan) -> MemoryPlan:
    """The same mode and budget, from the header alone."""
    found, paged = anatomy(model), plan.mode == "paged"
    engine = estimated_engine(found, task, Placement(), paged)
    needs = ModelNeeds(found, task).of(plan.mode, engine, estimated_process(found, task))
    return fit([needs], plan.budgets)


def _predicted(
    machine: Machine, model: ModelFile, task: Task, plan: MemoryPlan, trace: Path | None
) -> dict[str, Any]:
    share = plan.expert_cache_bytes / max(plan.routed_bytes, 1) if plan.mode == "paged" else 1.0

    def speed(hits: HitCurve) -> Speed | Absent:
        return Predictor(machine, anatomy(model), task, hits).speed(Placement(), plan.mode, share, Lesson())

    found = speed(PUBLISHED)
    told = {"cache_share": share} | _seconds("published", found)
    if trace is not None and plan.mode == "paged":
        from sixgig.pager.hit_curve import recorded_curve
        from sixgig.pager.trace import TraceFile

        curve = recorded_curve(TraceFile(trace))
        told |= _seconds("recorded", speed(curve)) | {"recorded_hits": curve.at(share)}
    return told


def _seconds(name: str, speed: Speed | Absent) -> dict[str, Any]:
    if isinstance(speed, Absent):
        return {f"{name}_decode_s": None, f"{name}_prompt_s": None}
    return {f"{name}_decode_s": speed.decode_s, f"{name}_prompt_s": speed.prompt_s}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.plan_case", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--ram", required=True)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--ubatch", type=int, default=256)
    parser.add_argument("--type-k", default="F16")
    parser.add_argument("--type-v", default="F16")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--history", type=Path, help="learn from the runs recorded here, and record this one")
    parser.add_argument("--trace", type=Path, help="a routing trace of the same model, for hit rates")
    return parser


if __name__ == "__main__":
    sys.exit(main())
