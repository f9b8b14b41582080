"""`sixgig tune` on a model six times larger than its memory, in a memory cgroup: peaks, bytes, pace.

    python -m bench.tuning.memory FOLDER --text FILE [--preset 6g-qwen3moe] [--ram 1G] [--json OUT]

The model is made in FOLDER and removed unless --keep. The cgroup's limit is the budget. Then the same steps
run with room for all weights, which is the time of computing, and in the same call the disk is read with as
many direct reads in flight as tuning has. A step should take at most 1.25 times computing and what reading
cannot hide behind it. What is judged between steps reads the model too, and is taken off its bytes and time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.cgroup import MemoryGroup, Run, drop_caches, unavailable
from bench.shrinking.large import made
from bench.synthetic.shape import PRESETS
from sixgig.finetune.reader import CHUNK_BYTES, READERS
from sixgig.hardware import disk_read_bandwidth
from sixgig.modelfile import open_model
from sixgig.planning import anatomy
from sixgig.planning.pieces import Pieces, pieces_of
from sixgig.units import format_bytes, format_rate, parse_size

TIMEOUT_S, DISK_SECONDS, MOST_TIME_RATIO = 4 * 3600.0, 3.0, 1.25
OVERSIZE = 6  # the model's size over the budget
LEARNT_CHARACTERS = 1 << 18
RESIDENT_EXTRA_BYTES = 4 << 30
Document = dict[str, Any]


@dataclass(frozen=True)
class Pace:
    """Seconds of a step, of its computing alone, of reading its bytes at the disk's plain speed."""

    step_s: float
    compute_s: float
    read_s: float

    @property
    def floor_s(self) -> float:
        """Computing, and what of reading does not fit behind it."""
        return self.compute_s + max(0.0, self.read_s - self.compute_s)

    @property
    def ratio(self) -> float:
        """The step over that."""
        return self.step_s / self.floor_s


class Contest:
    """One model, one text, two budgets."""

    def __init__(self, options: argparse.Namespace, model: Path, folder: Path) -> None:
        self.options, self.model, self.folder = options, model, folder
        self.size_bytes = model.stat().st_size
        self.ram_bytes = parse_size(options.ram) if options.ram else self.size_bytes // OVERSIZE
        text = options.text.read_text()
        self._learnt, self._judged = folder / "learnt.txt", folder / "judged.txt"
        self._learnt.write_text(text[:LEARNT_CHARACTERS])
        self._judged.write_text(one_batch(text, min(options.batch, options.context)))

    def run(self) -> Document:
        """Everything measured."""
        disk = [self._bandwidth()]
        drop_caches(self.model)
        small, group = self._within()
        disk.append(self._bandwidth())
        resident = self._resident()
        disk.append(self._bandwidth())
        step_bytes = bytes_of_a_step(small, pieces_of(anatomy(open_model(self.model))))
        pace = Pace(small["seconds_per_step"], resident["seconds_per_step"], step_bytes / max(disk))
        return {
            "model_bytes": self.size_bytes,
            "ram_bytes": self.ram_bytes,
            "disk_bandwidth_bytes_per_s": disk,
            "bytes_of_a_step": step_bytes,
            "pace": asdict(pace),
            "time_ratio": pace.ratio,
            "small": small,
            "group": group,
            "resident": resident,
        }

    def _within(self) -> tuple[Document, Document]:
        """Tune in a cgroup as large as the budget: what the command says, and what the group saw."""
        with MemoryGroup(self.ram_bytes) as group:
            command = self._command("small", self.ram_bytes)
            run = group.run(command, self.options.timeout, self._environment)
            events = oom_events(group.path)
        if run.status or run.timed_out:
            raise SystemExit(f"tuning failed in its cgroup: {ending(run)}; {events}")
        peaks = {name: getattr(run, name) for name in vars(run) if name.startswith("peak_")}
        return json.loads(run.stdout), {**peaks, "oom_events": events}

    def _resident(self) -> Document:
        command = self._command("resident", self.size_bytes + RESIDENT_EXTRA_BYTES)
        timeout_s = self.options.timeout
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=timeout_s
        )
        if done.returncode:
            raise SystemExit(f"tuning failed with all weights in memory: {done.stderr[-400:]}")
        found: Document = json.loads(done.stdout)
        return found

    @property
    def _environment(self) -> dict[str, str]:
        threads = str(self.options.threads)
        return {**os.environ, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": threads}

    def _command(self, name: str, ram_bytes: int) -> list[str]:
        options, out = self.options, self.folder / name
        numbers = {
            "--held-out": self._judged,
            "-o": out,
            "--ram": ram_bytes,
            "--steps": options.steps,
            "--batch": options.batch,
            "--context": options.context,
            "--threads": options.threads,
            "--targets": options.targets,
        }
        words = [str(word) for pair in numbers.items() for word in pair]
        return [sys.executable, "-m", "sixgig", "tune", str(self.model), str(self._learnt), *words, "--json"]

    def _bandwidth(self) -> float:
        return disk_read_bandwidth(self.model, CHUNK_BYTES, READERS, DISK_SECONDS).bytes_per_s


def one_batch(text: str, most_tokens: int) -> str:
    """The end of a text, at most so many tokens with two special ones: none is less than a byte."""
    return text.encode()[-(most_tokens - 2) :].decode(errors="ignore")


def bytes_of_a_step(told: Document, pieces: Pieces) -> float:
    """Read from disk in a step, by the whole run's bytes: less what stays, read once, and what was judged.

    The share of the weights that is read again is the plan's, taken to be the same in both directions.
    """
    forward = sum(piece.size_bytes for piece in pieces.forward())
    again = told["read_bytes_per_step"] / sum(piece.size_bytes for piece in pieces.step())
    judged = len(told["held_out"]) * again * forward
    return float((told["bytes_read"] - (1 - again) * forward - judged) / told["steps"])


def oom_events(group: Path) -> str:
    """What the kernel counted in the group, in its words."""
    files = (group / name for name in ("memory.events", "memory.oom_control"))
    lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
    return ", ".join(line for line in lines if line.startswith("oom"))


def ending(run: Run) -> str:
    """How a run went wrong."""
    if run.timed_out:
        return f"not done after {run.seconds:.0f} s"
    return f"status {run.status}: {run.stderr[-400:].strip()}"


def show(result: Document) -> str:
    """The report."""
    small, resident, group = result["small"], result["resident"], result["group"]
    pace, ram, disk = Pace(**result["pace"]), result["ram_bytes"], result["disk_bandwidth_bytes_per_s"]
    size, step = result["model_bytes"], result["bytes_of_a_step"]
    planned, in_all = small["read_bytes_per_step"], small["bytes_read"]
    same = small["losses"] == resident["losses"] and small["held_out"] == resident["held_out"]
    return "\n".join(
        [
            f"model {format_bytes(size)}, {size / ram:.1f} times the budget of {format_bytes(ram)}",
            f"process: peak {format_bytes(small['peak_memory_bytes'])}, "
            f"predicted {format_bytes(small['predicted_peak_memory_bytes'])}",
            f"cgroup: peak {format_bytes(group['peak_bytes'])} with cached pages, "
            f"anonymous {format_bytes(group['peak_anonymous_bytes'])}, "
            f"cached {format_bytes(group['peak_file_bytes'])}; {group['oom_events']}",
            f"read: {format_bytes(int(step))} a step, {step / (2 * size):.3f} times the file twice; "
            f"planned {format_bytes(planned)}; {format_bytes(in_all)} in all",
            f"disk: {', '.join(format_rate(rate) for rate in disk)}; the fastest counts",
            f"a step: {pace.step_s:.1f} s; computing {pace.compute_s:.1f} s "
            f"({format_bytes(resident['read_bytes_per_step'])} read), reading {pace.read_s:.1f} s",
            f"ratio {pace.ratio:.3f} to {pace.floor_s:.1f} s, at most {MOST_TIME_RATIO}",
            f"losses with all weights in memory: {'the same bits' if same else 'DIFFERENT'}",
        ]
    )


def holds(result: Document) -> bool:
    """Whether memory and time are kept."""
    within = result["small"]["peak_memory_bytes"] <= result["ram_bytes"]
    return bool(within and result["time_ratio"] <= MOST_TIME_RATIO)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; the exit status, 1 where memory or time is not kept."""
    options = _parser().parse_args(arguments)
    if reason := unavailable():
        print(reason, file=sys.stderr)
        return 1
    model = options.model or made(options.folder, options.preset, options.layers)
    try:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            result = Contest(options, model, Path(folder)).run()
    finally:
        if not options.keep and not options.model:
            model.unlink()
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    print(show(result))
    return int(not holds(result))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--preset", choices=PRESETS, default="6g-qwen3moe")
    parser.add_argument("--model", type=Path, help="this model instead of the preset's")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--ram", help="budget, and limit of the cgroup; default: a sixth of the model")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=512, help="tokens of a step")
    parser.add_argument("--context", type=int, default=512, help="tokens of a document at most")
    parser.add_argument("--targets", default="attention,dense,shared")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S)
    parser.add_argument("--keep", action="store_true", help="leave the model")
    parser.add_argument("--json", type=Path, help="keep everything here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
