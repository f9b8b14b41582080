"""Ours beside transformers and PEFT: the same weights, tokens, adapter to begin with, steps and schedule.

    python -m bench.tuning.peers TEXT [--steps 12] [--documents 8] [--rounds 3] [--json OUT]

TEXT, which the model has not seen, is cut into documents of exactly --context tokens, so that nobody pads.
Every system trains in a process of its own, all in turns, round after round. Ours is bench.tuning.ours,
theirs bench.tuning.theirs, where the names are explained. A system that fails is not run again; its last
words are kept. Memory is that of training alone; "added" is what it is above the process with everything
imported. A step's time is the median of all steps but the first, over all rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from bench.table import spread
from bench.tuning.task import INITIAL, Task, cut_tokens
from sixgig.checkpoint.peft import write_peft
from sixgig.errors import SixgigError
from sixgig.finetune.adapter import Adapter, targets
from sixgig.modelfile import open_model
from sixgig.units import format_bytes

SHARED = Path(__file__).resolve().parents[3] / "shared" / "models" / "pep-moe-31m"
OURS = ("ours resident", "ours streamed")
THEIRS = ("plain", "checkpointing", "accumulating", "disk_offload", "device_map", "by_hand")
SYSTEMS = (*OURS, *(f"peft {way}" for way in THEIRS))
Run = dict[str, Any]
Runs = dict[str, list[Run]]


def compare(task: Task, systems: Sequence[str], rounds: int, timeout_s: float) -> Iterator[dict[str, Any]]:
    """The result so far after each round."""
    path, runs, failed = task.save(), dict[str, list[Run]](), dict[str, str]()
    for _ in range(rounds):
        for system in systems:
            if system in failed:
                continue
            print(f"{system} ...", file=sys.stderr, flush=True)
            found = run(path, system, task.threads, timeout_s)
            if "error" in found:
                failed[system] = found["error"]
            else:
                runs.setdefault(system, []).append(found)
        yield {"task": asdict(task), "runs": runs, "failed": failed}


def run(task: Path, system: str, threads: int, timeout_s: float) -> Run:
    """One training in a process of its own: what it told, or its last line as "error"."""
    who, way = system.split()
    module = "bench.tuning.ours" if who == "ours" else "bench.tuning.theirs"
    environment = {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", module, str(task), way]
    try:
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {timeout_s:.0f} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}
    told: Run = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def prepared(options: argparse.Namespace, work: str) -> Task:
    """The task, with its tokens and the adapter to begin with in `work`."""
    sizes = (options.steps, options.documents, options.context, options.rank, 2.0 * options.rank)
    task = Task(
        str(options.model), str(options.folder), work, *sizes, options.rate, options.seed, options.threads
    )
    cut_tokens(task, options.text)
    model = open_model(Path(task.model))
    adapter = Adapter(targets(model), task.rank, task.alpha, task.seed)
    write_peft(Path(work, INITIAL), model, adapter.to_lora(model.architecture))
    return task


def show(result: dict[str, Any]) -> str:
    """The whole report as text."""
    runs: Runs = result["runs"]
    lines = [f"{'':20s}{'seconds a step':>22s}{'peak':>12s}{'added':>12s}{'last loss':>11s}{'off by':>11s}"]
    lines += [row(name, each, runs) for name, each in runs.items()]
    lines += [f"{name:20s}fails: {reason}" for name, reason in result["failed"].items()]
    return "\n".join([*lines, *ratios(runs), *curves(runs)])


def row(name: str, runs: Sequence[Run], all_runs: Runs) -> str:
    """One system; how far its losses are off those of the first."""
    first = next(iter(all_runs.values()))[0]["losses"]
    off = max(difference(run["losses"], first) for run in runs)
    sizes = [format_bytes(peak(runs)), format_bytes(added(runs))]
    cells = [f"{spread(seconds(runs)):>22s}", *(f"{size:>12s}" for size in sizes)]
    return f"{name:20s}" + "".join(cells) + f"{runs[0]['losses'][-1]:11.4f}{off:11.1e}"


def difference(losses: Sequence[float], others: Sequence[float]) -> float:
    """The largest of any step."""
    return max(abs(a - b) for a, b in zip(losses, others, strict=True))


def seconds(runs: Sequence[Run]) -> list[float]:
    """Of all steps but each run's first, unless there is no other."""
    return [s for run in runs for s in run["step_seconds"][1:] or run["step_seconds"]]


def peak(runs: Sequence[Run]) -> int:
    """The highest of all rounds."""
    return max(int(run["peak_bytes"]) for run in runs)


def added(runs: Sequence[Run]) -> int:
    """The same above what the process had with everything imported."""
    return max(int(run["peak_bytes"] - run["imported_bytes"]) for run in runs)


def ratios(runs: Runs) -> Iterator[str]:
    """Ours over each of theirs."""
    for ours in (name for name in runs if name in OURS):
        for theirs in (name for name in runs if name not in OURS):
            a, b = runs[ours], runs[theirs]
            time = median(seconds(a)) / median(seconds(b))
            yield (
                f"{ours} / {theirs}: time {time:.2f}, memory {peak(a) / peak(b):.2f}, "
                f"added memory {added(a) / added(b):.2f}"
            )


def curves(runs: Runs) -> Iterator[str]:
    """The losses of every step, of each system's first run."""
    for name, each in runs.items():
        yield f"{name:20s}" + " ".join(f"{loss:.5f}" for loss in each[0]["losses"])


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(dir=options.work) as work:
            task = prepared(options, work)
            for result in compare(task, options.systems.split(","), options.rounds, options.timeout):
                if options.json:
                    options.json.write_text(json.dumps(result, indent=1))
        print(show(result))
    except SixgigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.tuning.peers",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("text", type=Path)
    parser.add_argument("--model", type=Path, default=SHARED / "pep-moe-31m-BF16.gguf", help="as GGUF")
    parser.add_argument("--folder", type=Path, default=SHARED, help="the same weights for transformers")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="with commas; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--documents", type=int, default=8, help="in a step")
    parser.add_argument("--context", type=int, default=512, help="tokens of a document")
    parser.add_argument("--rank", type=int, default=16, help="alpha is twice as much")
    parser.add_argument("--rate", type=float, default=1e-3, help="the learning rate's peak")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds for one training")
    parser.add_argument("--work", type=Path, help="where weights on disk go; default: the system's")
    parser.add_argument("--json", type=Path, help="keep everything here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
