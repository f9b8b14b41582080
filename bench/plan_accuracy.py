"""Predictions held against runs: `python -m bench.plan_accuracy FOLDER [--what memory,speed] [--json OUT]`.

Models are made in FOLDER where they are missing (about 16 GB with the speed cases). The machine is measured
first. Memory: every family of the tiny models, enlarged, at several contexts, cache types and budgets. Speed:
models that fit and models that page, the latter also with hit rates from a trace of other tokens.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cgroup import drop_caches
from bench.synthetic.shape import PRESETS
from bench.synthetic.writer import write_model
from bench.tokens import stream_for
from sixgig.inference import EngineOptions
from sixgig.inference.load import open_engine
from sixgig.inference.request import PagingOptions
from sixgig.jobs.machines import this_machine
from sixgig.units import format_bytes, format_seconds, parse_size

ENLARGED = {"n_layers": 8, "width": 1024, "n_experts": 32, "expert_width": 768, "n_used": 4}
TRACE_SEED, TRACE_TOKENS = 7, 400
HISTORY = "runs.jsonl"


@dataclass(frozen=True)
class Case:
    """A model by the name it is made under, a budget, and options of bench.plan_case."""

    model: str
    ram: str
    options: tuple[str, ...] = ()

    def command(self, folder: Path, speed: bool) -> list[str]:
        """The process that runs it."""
        model, trace = folder / f"{self.model}.gguf", folder / f"{self.model}.trace"
        command = [sys.executable, "-m", "bench.plan_case", str(model), "--ram", self.ram, *self.options]
        return command + (["--trace", str(trace), "--history", str(folder / HISTORY)] if speed else [])


def _context(n: int, *more: str) -> tuple[str, ...]:
    """A context, filled."""
    return ("--context", str(n), "--prompt", "0", *more)


_Q8 = ("--type-k", "Q8_0", "--type-v", "Q8_0")
MEMORY = (
    Case("qwen35moe", "2G", _context(1024)),
    Case("qwen35moe", "300M", _context(4096)),
    Case("qwen3moe", "2G", _context(8192)),
    Case("qwen3moe", "260M", _context(1024)),
    Case("qwen3moe", "400M", _context(4096, *_Q8)),
    Case("gpt-oss", "2G", _context(4096)),
    Case("gpt-oss", "300M", _context(1024)),
    Case("deepseek2", "2G", _context(8192)),
    Case("deepseek2", "260M", _context(4096)),
    Case("mixtral", "2G", _context(1024, *_Q8)),
    Case("mixtral", "350M", _context(4096)),
    Case("llama", "2G", _context(8192)),
    Case("qwen3", "2G", _context(4096, "--ubatch", "512")),
    Case("600m", "2G", _context(4096)),
    Case("600m", "400M", _context(1024)),
    Case("6g", "1.7G", _context(1024)),
    Case("6g-qwen3moe", "2500M", _context(1024)),
)
SPEED = (
    Case("600m", "2G", ("--decode", "128")),
    Case("6g", "9G"),
    Case("6g-qwen3moe", "9G"),
    Case("6g", "1200M"),
    Case("6g", "1700M"),
    Case("6g", "3G"),
    Case("6g-qwen3moe", "1200M"),
    Case("6g-qwen3moe", "1700M"),
    Case("6g-qwen3moe", "3G"),
)


def ensure(name: str, folder: Path) -> Path:
    """The model of that name, made where it is not there."""
    path = folder / f"{name}.gguf"
    if not path.exists():
        if name in PRESETS:
            write_model(PRESETS[name], path, lambda _done, _total: None)
        else:
            from tests.tiny.models import build

            build(name, path, "Q4_0", **ENLARGED)
    return path


def ensure_trace(name: str, folder: Path) -> Path:
    """Routing of other tokens than the measured ones."""
    path, model = folder / f"{name}.trace", folder / f"{name}.gguf"
    if not path.exists():
        tokens = stream_for(model).draw(TRACE_TOKENS, TRACE_SEED)
        with open_engine(
            model, parse_size("3G"), EngineOptions(1024, 256, 2), PagingOptions(always=True)
        ) as engine:
            assert engine.pager is not None
            with engine.pager.tracing(path):
                for token in tokens:
                    engine.feed([token])
    return path


def run(cases: Sequence[Case], folder: Path, speed: bool) -> Iterator[dict[str, Any]]:
    """Every case in a process of its own, caches cold."""
    for case in cases:
        model = ensure(case.model, folder)
        if speed:
            ensure_trace(case.model, folder)
        drop_caches(model)
        done = subprocess.run(case.command(folder, speed), capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{case.model} at {case.ram}: {done.stderr.strip()[-300:]}", file=sys.stderr)
            continue
        yield {"case": case.model, "ram": case.ram} | json.loads(done.stdout.splitlines()[-1])


def memory_row(r: dict[str, Any]) -> str:
    """One line of the memory table: how far each prediction was from the peak."""
    engine, header = (100 * (r[name] / r["peak_bytes"] - 1) for name in ("predicted_bytes", "header_bytes"))
    cache = "equal" if r["tiers"]["KV cache"] == r["header_tiers"]["KV cache"] else "differs"
    buffers = 100 * (r["header_tiers"]["compute buffers"] / r["tiers"]["compute buffers"] - 1)
    peak, margin = format_bytes(r["peak_bytes"]), format_bytes(r["margin_bytes"])
    return (
        f"| {r['case']} | {r['context']} | {r['kv']} | {r['ram']} | {r['mode']} | {peak} "
        f"| {engine:+.1f}% | {header:+.1f}% | {margin} | {cache} | {buffers:+.0f}% |"
    )


def speed_row(r: dict[str, Any]) -> str:
    """One line of the speed table: tokens per second measured and predicted."""
    hit = f"{100 * r['hit_rate']:.0f}%" if r["hit_rate"] is not None else "-"
    told = [f"| {r['case']} | {r['ram']} | {r['mode']} | {hit} | {1 / r['measured_decode_s']:.2f} "]
    for name in ("published", "recorded"):
        seconds = r.get(f"{name}_decode_s")
        told.append(f"| {1 / seconds:.2f} ({_error(r, seconds)}) " if seconds else "| - ")
    corrected = r["published_decode_s"] * r["decode_factor"]
    told.append(f"| {1 / corrected:.2f} ({_error(r, corrected)}) " if r["n_runs"] else "| - ")
    prompt = r.get("recorded_prompt_s") or r["published_prompt_s"]
    told.append(f"| {format_seconds(r['measured_prompt_s'])} | {format_seconds(prompt)} |")
    return "".join(told)


def _error(r: dict[str, Any], seconds: float) -> str:
    """How far the predicted rate is from the measured one."""
    return f"{100 * (r['measured_decode_s'] / seconds - 1):+.0f}%"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.plan_accuracy", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--what", default="memory,speed")
    parser.add_argument("--rounds", type=int, default=3, help="of the speed cases; later ones are corrected")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[dict[str, Any]]] = {}
    for what, cases, row in (("memory", MEMORY, memory_row), ("speed", SPEED * options.rounds, speed_row)):
        if what in options.what.split(","):
            for case in cases:
                ensure(case.model, options.folder)
            this_machine(options.folder, again=True)
            results[what] = []
            for result in run(cases, options.folder, speed=what == "speed"):
                results[what].append(result)
                print(row(result), flush=True)
            if options.json:
                options.json.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
