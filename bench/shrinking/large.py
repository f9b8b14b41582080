"""`sixgig shrink` on a model ten times larger than its memory, in a memory cgroup: peaks, times, bytes.

    python -m bench.shrinking.large FOLDER --text FILE [--preset 20g-bf16] [--size 6G] [--ram 2G] [--limit 2G]

The model is made in FOLDER, the result beside it; both are removed unless --keep. The number of windows and
of disturbed groups is cut down (--calibration-windows and the like; bench.shrinking.driver says how), so that
time is a lower bound and memory is what it always is: no step holds more for more windows.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.cgroup import MemoryGroup, Run, unavailable
from bench.shrinking.driver import add_options, as_words
from bench.synthetic.shape import PRESETS
from bench.synthetic.writer import write_model
from sixgig.units import format_bytes, parse_size

TIMEOUT_S = 6 * 3600.0
Line = dict[str, Any]


def lines_of(stdout: str) -> list[Line]:
    """What the driver told."""
    return [json.loads(line) for line in stdout.splitlines() if line.startswith("{")]


def by_phase(lines: list[Line]) -> dict[str, Line]:
    """Seconds and bytes written summed, peaks the largest, in the order they began."""
    found: dict[str, Line] = {}
    for line in lines:
        if "peak_bytes" not in line:
            continue
        known = found.setdefault(line["phase"] or "start", {"seconds": 0.0, "written_bytes": 0})
        for name in ("seconds", "written_bytes"):
            known[name] += line[name]
        for name in ("peak_bytes", "peak_anonymous_bytes"):
            known[name] = max(known.get(name, 0), line.get(name, 0))
    return found


def table(lines: list[Line], run: Run, ram_bytes: int) -> str:
    """The report."""
    rows = [f"{'phase':44s}{'seconds':>9s}{'peak':>13s}{'anonymous':>13s}{'written':>13s}"]
    for name, phase in by_phase(lines).items():
        sizes = (phase["peak_bytes"], phase["peak_anonymous_bytes"], phase["written_bytes"])
        cells = "".join(f"{format_bytes(size):>13s}" for size in sizes)
        rows.append(f"{name[:43]:44s}{phase['seconds']:9.1f}{cells}")
    rows += [
        f"process: peak {format_bytes(peak_bytes(lines, run))} of {format_bytes(ram_bytes)}",
        f"cgroup: peak {format_bytes(run.peak_bytes)} with cached pages, "
        f"anonymous {format_bytes(run.peak_anonymous_bytes)}, cached {format_bytes(run.peak_file_bytes)}",
        f"{ending(lines, run)}, {run.seconds:.0f} s",
    ]
    return "\n".join(rows)


def peak_bytes(lines: list[Line], run: Run) -> int:
    """Most memory of the process: as it told at the end of each phase, and as the group saw it meanwhile."""
    return max(run.peak_anonymous_bytes, *(line.get("peak_bytes", 0) for line in lines), 0)


def ending(lines: list[Line], run: Run) -> str:
    """How it went; a phase that was killed told no peak."""
    if run.timed_out:
        return f"timed out in {going_on(lines)!r}"
    if run.status < 0:
        return (
            f"killed by signal {-run.status} in {going_on(lines)!r}: out of memory, where nobody else did it"
        )
    return json.dumps(lines[-1]) if lines else "no word"


def going_on(lines: list[Line]) -> str:
    """The phase that was told of last."""
    return str(next((line["phase"] for line in reversed(lines) if "phase" in line), ""))


def made(folder: Path, preset: str, layers: int | None) -> Path:
    """The source, written unless it is there."""
    shape = PRESETS[preset]
    shape = shape if layers is None else replace(shape, n_layers=layers)
    path = folder / f"{preset}-{shape.n_layers}.gguf"
    if not path.exists():
        write_model(shape, path)
    return path


def shrunk(options: argparse.Namespace, model: Path, out: Path) -> Run:
    """Run the driver in a group of its own."""
    words = ["-m", "bench.shrinking.driver", str(model), str(out), *as_words(options)]
    with MemoryGroup(parse_size(options.limit)) as group:
        return group.run([sys.executable, *words], options.timeout)


def main() -> int:
    """Entry point; the exit status, 1 where the run failed or took more memory than it may."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", choices=PRESETS, default="20g-bf16")
    parser.add_argument("--model", type=Path, help="this model instead of the preset's")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--limit", default="2G", help="of the memory cgroup")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S)
    parser.add_argument("--keep", action="store_true", help="leave the model")
    parser.add_argument("--log", type=Path, help="where to put the driver's lines")
    add_options(parser)
    options = parser.parse_args()
    if reason := unavailable():
        print(reason, file=sys.stderr)
        return 1
    model = options.model or made(options.folder, options.preset, options.layers)
    out = options.folder / "shrunk.gguf"
    print(f"{model.name}: {format_bytes(model.stat().st_size)}; {' '.join(as_words(options))}", flush=True)
    run = shrunk(options, model, out)
    if options.log:
        options.log.write_text(run.stdout + run.stderr)
    lines = lines_of(run.stdout)
    print(table(lines, run, parse_size(options.ram)))
    out.unlink(missing_ok=True)
    if not options.keep and not options.model:
        model.unlink()
    return int(run.status != 0 or peak_bytes(lines, run) > parse_size(options.ram))


if __name__ == "__main__":
    raise SystemExit(main())
