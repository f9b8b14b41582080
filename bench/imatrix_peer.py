"""Our calibration against llama.cpp's imatrix tool, on the same tokens of the same model.

    python -m bench.imatrix_peer MODEL.gguf TEXT --tool LLAMA-IMATRIX [--chunks 4] [--context 512]

Both read the text in windows of `context` tokens, one evaluation each, with repacking off. What may differ is
the arithmetic of two builds of the engine, and the order of sums: the tool adds float32 to float32.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from sixgig.calibration.calibrate import Calibrator
from sixgig.evaluate import Windows, cut
from sixgig.inference.engine import Engine
from sixgig.inference.options import EngineOptions
from sixgig.modelfile import open_model
from sixgig.modelfile.imatrix import Imatrix, read_imatrix, write_imatrix


def main() -> None:
    """Run both and print one JSON document; exits with 1 when weights or counts are not the same."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        theirs = _theirs(arguments, Path(folder))
        ours = _ours(arguments, Path(folder))
    report = compare(ours, theirs)
    json.dump(report, sys.stdout, indent=1)
    print()
    sys.exit(bool(report["only_ours"] or report["only_theirs"] or report["largest_change_of_a_count"]))


def compare(ours: Imatrix, theirs: Imatrix) -> dict[str, object]:
    """Differences of sums of squares, relative to their own size and to the largest of their matrix."""
    common = sorted(ours.entries.keys() & theirs.entries.keys())
    relative, scaled, counts = {}, {}, {}
    for name in common:
        (a, n_a), (b, n_b) = ours.entries[name], theirs.entries[name]
        change = np.abs(a.astype(np.float64) - b)
        relative[name] = float((change / np.maximum(np.maximum(a, b), 1e-30)).max())
        scaled[name] = float((change / np.maximum(b.max(axis=1, keepdims=True), 1e-30)).max())
        counts[name] = float(np.abs(n_a - n_b).max())
    return {
        "weights": len(common),
        "only_ours": sorted(ours.entries.keys() - theirs.entries.keys()),
        "only_theirs": sorted(theirs.entries.keys() - ours.entries.keys()),
        "largest_change_of_a_count": max(counts.values()),
        "largest_relative_difference": max(relative.values()),
        "found_in": max(relative, key=lambda name: relative[name]),
        "median_over_weights_of_the_largest": float(np.median(list(relative.values()))),
        "largest_difference_to_largest_sum": max(scaled.values()),
        "chunks": [ours.chunk_count, theirs.chunk_count],
    }


def _theirs(arguments: argparse.Namespace, folder: Path) -> Imatrix:
    out, size = folder / "theirs.gguf", str(arguments.context)
    files = ("-m", arguments.model, "-f", arguments.text, "-o", out)
    sizes = ("-c", size, "-b", size, "-ub", size, "--chunks", arguments.chunks, "-t", arguments.threads)
    flags = ("--process-output", "--no-ppl", "--no-repack")
    command = [str(word) for word in (arguments.tool, *files, *sizes, *flags)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not out.exists():
        sys.exit(f"error: the tool failed; status {done.returncode}; {done.stderr[-400:]}")
    return read_imatrix(out)


def _ours(arguments: argparse.Namespace, folder: Path) -> Imatrix:
    windows = _windows(arguments)
    run = Calibrator(open_model(arguments.model), windows, folder / "work", text=arguments.text.name)
    size = arguments.context
    options = EngineOptions(context=size, ubatch=size, threads=arguments.threads, extra_buffers=False)
    with Engine(arguments.model, options, observe=run.collector) as engine:

        def feed(tokens: list[int]) -> None:
            engine.clear()
            engine.feed(tokens)

        imatrix = run.run(feed).to_imatrix()
    write_imatrix(folder / "ours.gguf", imatrix)
    return read_imatrix(folder / "ours.gguf")


def _windows(arguments: argparse.Namespace) -> Windows:
    """The tool's: of the text with what the vocabulary adds, each beginning with BOS where it adds one."""
    with Engine(arguments.model, EngineOptions(context=256, threads=arguments.threads)) as engine:
        tokens = engine.vocabulary.tokenize(arguments.text.read_text(), add_special=True, parse_special=False)
        first = engine.vocabulary.tokenize("", add_special=True)
    return cut(tokens, arguments.context, first[0] if first else None, arguments.chunks)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--tool", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=4)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
