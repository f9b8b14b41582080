"""A sweep of learning rates for each optimiser; the best of each side by side, on two kinds of text.

    python -m bench.tuning.learning MODEL TEXT --judge TEXT --other TEXT --work FOLDER
        [--adamw 3e-4,1e-3 --muon 2e-3,5e-3] [--steps 60] [--json OUT] [--picture OUT.svg]

TEXT is learnt but for the part that `sixgig tune` holds out, by which the best rate is chosen. --judge is a
text of the same kind that nothing was chosen by, --other one of the model's own domain: what tuning costs
there. Both are scored by `sixgig score`, the model alone and with each best adapter. What was found stays in
the work folder and is not measured again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sixgig.jobs.loss_picture import smoothed

COLOURS = {"adamw": "C0", "muon": "C1"}
Document = dict[str, Any]


class Failed(Exception):
    """A command ended with an error, in its words."""


class Sweep:
    """Runs of the command, each found again in the work folder by its name."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        options.work.mkdir(parents=True, exist_ok=True)

    def tuned(self, optimiser: str, rate: float) -> Document:
        """`sixgig tune --json`. Failed where it fails: too high a rate diverges."""
        options, name = self.options, f"{optimiser}-{rate:g}"
        numbers = {
            "-o": options.work / name,
            "--optimizer": optimiser,
            "--learning-rate": rate,
            "--steps": options.steps,
            "--batch": options.batch,
            "--context": options.context,
            "--rank": options.rank,
            "--targets": options.targets,
            "--seed": options.seed,
        }
        words = [str(word) for pair in numbers.items() for word in pair]
        return self._once(name, "tune", str(options.model), str(options.text), *words)

    def score(self, text: Path, adapter: str | None) -> float:
        """Nats a token, by `sixgig score`."""
        options = self.options
        by = ["--adapter", adapter] if adapter else []
        name = f"{text.parent.name}-{text.stem}-{Path(adapter).parent.name if adapter else 'before'}"
        words = ["--text", str(text), "--windows", str(options.windows), *by]
        told = self._once(name, "score", str(options.model), *words)
        return math.log(told["perplexity"])

    def _once(self, name: str, *words: str) -> Document:
        """What the command says, or said before; what it left half done under that name goes."""
        path, command = self.options.work / f"{name}.json", [*words, "--threads", str(self.options.threads)]
        if path.exists() and (known := json.loads(path.read_text()))["command"] == command:
            found: Document = known["told"]
            return found
        shutil.rmtree(self.options.work / name, ignore_errors=True)
        environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
        done = subprocess.run(
            [sys.executable, "-m", "sixgig", *command, "--json"],
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Failed(f"{name} failed: {done.stderr.strip()[-400:]}")
        found = json.loads(done.stdout)
        path.write_text(json.dumps({"command": command, "told": found}))
        return found

    def side_by_side(self, best: Document) -> Document:
        """Before and after, of each text."""
        judge, other, adapter = self.options.judge, self.options.other, best["adapter"]
        return {
            "learning_rate": best["learning_rate"],
            "best_step": best["best_step"],
            "seconds_per_step": best["seconds_per_step"],
            "held_out": [best["heldout_loss_before"], best["heldout_loss_after"]],
            "judge": [self.score(judge, None), self.score(judge, adapter)],
            "other": [self.score(other, None), self.score(other, adapter)],
        }


def best_of(runs: Sequence[Document]) -> Document:
    """The run with the lowest held-out loss."""
    return min(runs, key=lambda run: run["heldout_loss_after"])


def curve(run: Document) -> str:
    """A run's line: its rate, its held-out losses, the lowest."""
    losses = " ".join(f"{loss:.4f}" for _, loss in run["held_out"])
    lowest = f"{run['heldout_loss_after']:.4f} after {run['best_step']:3d} of {run['steps']:3d}"
    return f"{run['optimizer']:6s}{run['learning_rate']:9.1e}  lowest {lowest}: {losses}"


def table(found: dict[str, Document]) -> str:
    """The best of each optimiser: nats a token, before and after."""
    rows = [f"{'':8s}{'rate':>9s}{'steps':>7s}{'s/step':>8s}{'held out':>22s}{'judge':>22s}{'other':>22s}"]
    for name, each in found.items():
        texts = (f"{each[key][0]:.4f} -> {each[key][1]:.4f}" for key in ("held_out", "judge", "other"))
        numbers = f"{each['learning_rate']:9.1e}{each['best_step']:7d}{each['seconds_per_step']:8.2f}"
        rows.append(f"{name:8s}{numbers}" + "".join(f"{text:>22s}" for text in texts))
    return "\n".join(rows)


def draw(path: Path, best: dict[str, Document], title: str) -> None:
    """The best run of each optimiser: held-out losses, and the smoothed ones of its steps behind them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for name, run in best.items():
        steps = range(1, len(run["losses"]) + 1)
        axes.plot(steps, smoothed(run["losses"]), color=COLOURS[name], alpha=0.3)
        label = f"{name}, {run['learning_rate']:g}"
        axes.plot(*zip(*run["held_out"], strict=True), "o-", color=COLOURS[name], label=label)
    axes.set(xlabel="step", ylabel="loss, nats a token", title=title)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(title="held out; pale: of the steps, smoothed")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Sweep, choose, judge."""
    options = _parser().parse_args()
    sweep, runs, best = Sweep(options), dict[str, list[Document]](), dict[str, Document]()
    for optimiser in COLOURS:
        runs[optimiser] = []
        for rate in getattr(options, optimiser).split(","):
            try:
                runs[optimiser].append(sweep.tuned(optimiser, float(rate)))
                print(curve(runs[optimiser][-1]), flush=True)
            except Failed as error:
                print(error, flush=True)
        if runs[optimiser]:
            best[optimiser] = best_of(runs[optimiser])
    found = {optimiser: sweep.side_by_side(run) for optimiser, run in best.items()}
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps({"best": found, "runs": runs}, indent=1))
    if options.picture:
        draw(options.picture, best, f"{options.model.stem}: tuned on {options.text.parent.name}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--judge", type=Path, required=True, help="of the kind that is learnt")
    parser.add_argument("--other", type=Path, required=True, help="of the kind the model knows")
    parser.add_argument("--work", type=Path, required=True, help="folder for adapters and what is found")
    parser.add_argument(
        "--adamw", default="1e-4,2e-4,5e-4,1e-3,2e-3,5e-3", help="learning rates, with commas"
    )
    parser.add_argument("--muon", default="5e-4,1e-3,2e-3,5e-3,1e-2,2e-2")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--targets", default="attention,dense,shared")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--windows", type=int, default=40, help="scored of each text")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="keep all curves here")
    parser.add_argument("--picture", type=Path, help="draw the best curves here, .svg or .png")
    return parser


if __name__ == "__main__":
    main()
