"""`sixgig score` beside llama.cpp's perplexity tool, on the same model, reference and text.

    python -m bench.score_peer MODEL REFERENCE TEXT --peer PATH/llama-perplexity [--windows N] [--threads N]

Each makes the reference's log-probabilities, and each scores the model against both files, so that the files
are exchanged both ways. Same threads, windows and ubatch; flash attention on auto in both; the peer's extra
buffer types are off, as they always are in `sixgig score`. Prints a table, or with --json one document.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NUMBER = r"\s*:\s*(-?[\d.]+|nan|inf)"
ERROR = r"\s*±\s*(-?[\d.]+|nan|inf)"
PEER_LINES = {
    ("perplexity", "perplexity_error"): r"Mean PPL\(Q\)" + NUMBER + ERROR,
    ("base_perplexity", "base_perplexity_error"): r"Mean PPL\(base\)" + NUMBER + ERROR,
    ("log_ratio", "log_ratio_error"): r"Mean ln\(PPL\(Q\)/PPL\(base\)\)" + NUMBER + ERROR,
    ("kld_mean", "kld_error"): r"Mean    KLD" + NUMBER + ERROR,
    ("kld_median",): r"Median  KLD" + NUMBER,
    ("kld_p90",): r"90\.0%   KLD" + NUMBER,
    ("kld_p95",): r"95\.0%   KLD" + NUMBER,
    ("kld_p99",): r"99\.0%   KLD" + NUMBER,
    ("kld_p999",): r"99\.9%   KLD" + NUMBER,
    ("kld_max",): r"Maximum KLD" + NUMBER,
    ("rms_p_change", "rms_p_change_error"): r"RMS Δp    " + NUMBER + ERROR,
    ("same_top1", "same_top1_error"): r"Same top p" + NUMBER + ERROR,
}
PERCENT = ("rms_p_change", "rms_p_change_error", "same_top1", "same_top1_error")
Figures = dict[str, float]


def peer_figures(output: str) -> Figures:
    """What the peer printed about a comparison, under our names; percentages as shares."""
    figures: Figures = {}
    for names, pattern in PEER_LINES.items():
        match = re.search(pattern, output)
        if match is None:
            raise SystemExit(f"the peer printed no {names[0]}:\n{output[-2000:]}")
        figures |= dict(zip(names, map(float, match.groups()), strict=True))
    return {name: value / 100 if name in PERCENT else value for name, value in figures.items()}


class Contest:
    """Both tools with the same settings; seconds of each call are in `seconds`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.seconds: dict[str, float] = {}

    def ours(self, label: str, model: Path, *more: str) -> dict[str, Any]:
        """`sixgig score --json`."""
        options = self._options
        command = [sys.executable, "-m", "sixgig", "score", str(model), "--text", str(options.text), "--json"]
        command += ["--threads", str(options.threads), "--ubatch", str(options.ubatch), *more]
        command += ["--windows", str(options.windows)] if options.windows else []
        document: dict[str, Any] = json.loads(self._run(label, command).stdout)
        return document

    def peer(self, label: str, model: Path, base: Path, *more: str) -> str:
        """What the peer wrote."""
        options = self._options
        command = [str(options.peer), "-m", str(model), "-f", str(options.text), "--no-repack", "-c", "512"]
        command += ["-t", str(options.threads), "-b", "512", "-ub", str(options.ubatch), "-fa", "auto"]
        command += ["--chunks", str(options.windows or -1), "--kl-divergence-base", str(base), *more]
        done = self._run(label, command)
        return done.stdout + done.stderr

    def _run(self, label: str, command: list[str]) -> subprocess.CompletedProcess[str]:
        started = time.perf_counter()
        environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{label} failed:\n{done.stderr[-2000:]}")
        self.seconds[label] = time.perf_counter() - started
        return done


def compare(contest: Contest, model: Path, reference: Path, folder: Path) -> dict[str, Figures]:
    """Figures by who scored, and against whose file."""
    bases = {"ours": folder / "ours.logits", "peer": folder / "peer.logits"}
    contest.ours("reference by ours", reference, "--save-reference", str(bases["ours"]))
    contest.peer("reference by peer", reference, bases["peer"])
    found: dict[str, Figures] = {}
    for maker, base in bases.items():
        label = f"ours, base by {maker}"
        found[label] = contest.ours(label, model, "--reference", str(base))
        label = f"peer, base by {maker}"
        found[label] = peer_figures(contest.peer(label, model, base, "--kl-divergence"))
    return found


def table(found: dict[str, Figures], seconds: dict[str, float]) -> str:
    """One column for each run."""
    names = [name for group in PEER_LINES for name in group]
    rows = [["", *found]] + [[name, *(f"{one[name]:.6f}" for one in found.values())] for name in names]
    rows.append(["seconds", *(f"{seconds[label]:.1f}" for label in found)])
    return "\n".join(f"{row[0]:24}" + "".join(f"{cell:>22}" for cell in row[1:]) for row in rows)


def main() -> None:
    """Run all, print the table."""
    parser = argparse.ArgumentParser(description="sixgig score beside llama-perplexity.")
    for name in ("model", "reference", "text"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--peer", type=Path, required=True, help="llama-perplexity of the pinned llama.cpp")
    parser.add_argument("--windows", type=int, default=0, help="at most so many; default all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ubatch", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    contest = Contest(options)
    with tempfile.TemporaryDirectory() as folder:
        found = compare(contest, options.model, options.reference, Path(folder))
    if options.json:
        print(json.dumps({"figures": found, "seconds": contest.seconds}, indent=2))
    else:
        print(table(found, contest.seconds))


if __name__ == "__main__":
    main()
