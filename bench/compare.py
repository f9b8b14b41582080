"""Ours against stock llama.cpp, in turns, inside the same memory cgroup, on the same tokens.

    python -m bench.compare MODEL --ram 25% [--rounds 3] [--json OUT]

Caches are dropped before every run. Stock runs as mmap with and without its extra buffer types (repacked
weights), and loaded into memory where that fits; ratios are against the best of them. Beside them stands what
a plain multi-threaded read of the same file, in blocks of one expert's tensor, reached before each round.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.cgroup import MemoryGroup, Run, drop_caches, unavailable
from bench.peers import NAMES, Peer, Task, peer
from bench.table import show
from bench.tokens import read_tokens, stream_for
from sixgig.errors import SixgigError, UsageError
from sixgig.hardware.bandwidth import disk_read_bandwidth
from sixgig.modelfile import ModelFile, open_model
from sixgig.units import parse_size

READ_THREADS = 4
READ_SECONDS = 3.0
DEFAULT_PEERS = "ours,mmap,mmap-extra,none,none-extra"


def compare(task: Task, peers: Sequence[Peer], rounds: int, timeout_s: float) -> Iterator[dict[str, Any]]:
    """Run every peer once a round; gives the result so far after each round.

    A peer that fails is not run again; its reason is kept.
    """
    runs: dict[str, list[dict[str, Any]]] = {p.name: [] for p in peers}
    failed = {p.name: p.skip for p in peers if p.skip}
    disk = list[float]()
    for _ in range(rounds):
        disk.append(_disk_bandwidth(open_model(task.model)))
        for each in peers:
            if each.name in failed:
                continue
            outcome = run_peer(task, each, timeout_s)
            runs[each.name].append(outcome)
            if "error" in outcome:
                failed[each.name] = outcome["error"]
        yield {"disk_bandwidth_bytes_per_s": disk, "failed": failed, "runs": runs}


def run_peer(task: Task, each: Peer, timeout_s: float) -> dict[str, Any]:
    """One run in a fresh cgroup with cold caches: the runner's JSON and the group's peaks, or an error."""
    drop_caches(task.model)
    print(f"{each.name} ...", file=sys.stderr, flush=True)
    with MemoryGroup(each.limit_bytes) as group:
        run = group.run(each.command, timeout_s)
    peaks = {
        "cgroup_limit_bytes": each.limit_bytes,
        "cgroup_peak_bytes": run.peak_bytes,
        "cgroup_peak_anonymous_bytes": run.peak_anonymous_bytes,
        "cgroup_peak_file_bytes": run.peak_file_bytes,
    }
    return peaks | _figures(run)


def _figures(run: Run) -> dict[str, Any]:
    if run.timed_out:
        return {"error": f"not done after {run.seconds:.0f} s"}
    if run.status == -9:
        return {"error": "killed: out of memory in its cgroup"}
    if run.status:
        return {"error": (run.stderr.strip().splitlines() or [f"exit status {run.status}"])[-1][:300]}
    figures: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
    return figures


def _disk_bandwidth(model: ModelFile) -> float:
    """Bytes per second of plain threads reading random blocks as long as one expert's tensor."""
    tensor = model.routed_experts()[0]
    block_bytes = tensor.size_bytes // model.n_experts
    drop_caches(model.parts[0])
    return disk_read_bandwidth(model.parts[0], block_bytes, READ_THREADS, READ_SECONDS).bytes_per_s


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        for result in _run(options):
            if options.json:
                options.json.write_text(json.dumps(result, indent=1))
            print(show(result), flush=True)
    except SixgigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    if reason := unavailable():
        raise UsageError("equal memory cannot be enforced", reason, "run as root")
    with tempfile.TemporaryDirectory() as folder:
        task = _task(options, Path(folder))
        peers = [peer(name, task) for name in options.peers.split(",")]
        for result in compare(task, peers, options.rounds, options.timeout):
            yield _circumstances(task) | result


def _circumstances(task: Task) -> dict[str, Any]:
    """What was run, and what in the environment may matter."""
    environment = {name: value for name, value in os.environ.items() if name.startswith(("OMP_", "GGML_"))}
    told = {name: value for name, value in vars(task).items() if not isinstance(value, Path)}
    model = {"model": task.model.name, "model_bytes": task.model.stat().st_size}
    return model | {"task": told, "environment": environment}


def _task(options: argparse.Namespace, folder: Path) -> Task:
    size_bytes = options.model.stat().st_size
    ram_bytes = _budget(options.ram, size_bytes)
    limit_bytes = _budget(options.limit, size_bytes) if options.limit else ram_bytes
    tokens = folder / "tokens"
    wanted = (
        read_tokens(options.tokens) if options.tokens else stream_for(options.model).draw(4096, options.seed)
    )
    tokens.write_text("\n".join(map(str, wanted[: options.prompt + options.decode])))
    numbers = {
        name: getattr(options, name) for name in ("prompt", "decode_seconds", "threads", "ubatch", "context")
    }
    return Task(model=options.model, tokens=tokens, ram_bytes=ram_bytes, limit_bytes=limit_bytes, **numbers)


def _budget(text: str, size_bytes: int) -> int:
    """A size, or a percentage of the file."""
    if text.endswith("%"):
        return int(size_bytes * float(text[:-1]) / 100)
    return parse_size(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--ram", default="25%", help="our budget: a size, or a percentage of the file")
    parser.add_argument("--limit", help="the cgroup's limit for every peer; default: the budget")
    parser.add_argument("--peers", default=DEFAULT_PEERS, help=f"of {', '.join(NAMES)}")
    parser.add_argument("--tokens", type=Path, help="token file; drawn afresh when absent")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--decode-seconds", type=float, default=120.0, help="no run decodes longer than this")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for one run, loading included")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ubatch", type=int, default=512)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--json", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
