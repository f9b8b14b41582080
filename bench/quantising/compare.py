"""Our recipes against others at equal bytes: each peer's file size is our budget, padding included.

    python -m bench.quantising.compare MODEL CALIBRATION.txt --judge TEXT [--judge TEXT ...] --work FOLDER
        [--peers Q2_K,routed:Q3_K,...] [--windows N] [--rounds N] [--json OUT] [--plot OUT.svg]

Both sides quantise with ggml's own code and the same importance matrix, from one calibration pass. Files are
judged by their KL divergence from MODEL on texts that nothing was chosen by; the ratio's 95% interval is a
paired bootstrap over windows. A peer's size is that of llama-quantize's file (tensors on 32 bytes), ours has
its tensors on pages. --windows takes so many of each text, evenly spread.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from bench.quantising.peers import file_bytes, peer_types
from sixgig.cli.picture import draw
from sixgig.cli.scoring import read_text
from sixgig.cli.shrinking import BudgetedEngines
from sixgig.compress.choose import Recipe
from sixgig.compress.measuring import Figures, Yardstick
from sixgig.compress.outcome import pruned_options
from sixgig.compress.search import search_types
from sixgig.compress.shrinker import CONTEXT, Shrinker
from sixgig.compress.texts import divide
from sixgig.compress.workfolder import WorkFolder
from sixgig.evaluate import Windows, cut, paired_ratio, rest
from sixgig.modelfile import open_model
from sixgig.modelfile.content import model_digest
from sixgig.weights.stored import Importance, Weights

PEERS = (
    "Q2_K,Q3_K_M,Q4_K_M,Q5_K_M,"
    "routed:Q2_K,routed:IQ3_XXS,routed:Q3_K,routed:IQ4_XS,routed:Q4_K,routed:Q5_K,"
    "uniform:Q2_K,uniform:Q3_K,uniform:IQ4_XS,uniform:Q4_K,uniform:Q5_K,uniform:Q6_K"
)


@dataclass(frozen=True)
class Pair:
    """One peer and ours in its bytes, by text: figures of both and the ratio's mean and bounds."""

    peer: str
    peer_bytes: int
    our_bytes: int
    types: dict[str, int]
    texts: dict[str, dict[str, object]]
    pruned: str
    pruned_texts: dict[str, float]


class Comparison:
    """Peers one after another; everything measured is kept in the work folder."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.engines = given, BudgetedEngines(given.ram, None)
        self.model = open_model(given.model)
        texts = divide(read_text(given.calibration), read_text(given.judge[0]))
        self.shaping = texts.calibration + texts.search
        digest = model_digest(self.model)
        job = {"model": digest, "text": sha256(repr(texts).encode()).hexdigest()}
        self.folder = WorkFolder(given.work, job)
        self.shrinker = Shrinker(self.model, texts, self.engines, self.folder, self.engines.threads, digest)
        self.judges = {path.stem: self._judge(path) for path in given.judge}

    def _judge(self, path: Path) -> Yardstick:
        found = rest(self.shaping, read_text(path))
        print(f"{path.name}: {found.n_dropped} of {found.n_words} words stand in the calibration text too")
        with self.engines.open(self.model, CONTEXT) as model:
            windows = cut(model.tokenize(found.text), CONTEXT, model.bos)
        limit = self.given.windows or len(windows)
        chosen = np.unique(np.linspace(0, len(windows) - 1, min(limit, len(windows))).astype(int))
        windows = Windows(windows.tokens[chosen], windows.bos)
        name = f"judge-{path.parent.name}-{path.stem}-{len(windows)}.logits"
        yardstick = Yardstick(self.engines, self.model, windows, self.folder.path(name))
        yardstick.prepare(f"the source on {path.name}")
        return yardstick

    def run(self, peer: str) -> Pair:
        """Both files of one budget, judged."""
        types = peer_types(self.model, peer)
        budget = file_bytes(self.model, types)
        theirs = self._figures(f"peer-{peer}", Recipe(types, budget, 0.0))
        found = search_types(self.shrinker, budget, self.given.rounds, lambda line: print("   ", line))
        ours = self._figures(f"ours-{peer}-{self.given.rounds}", found.recipe)
        used: dict[str, int] = {}
        for kind in found.recipe.types.values():
            used[kind] = used.get(kind, 0) + 1
        texts = {name: _compared(ours[name], theirs[name]) for name in self.judges}
        pruned, figures = self._pruned(peer, budget) if peer in self.given.prune_at.split(",") else ("", {})
        return Pair(peer, budget, found.recipe.size_bytes, used, texts, pruned, figures)

    def _pruned(self, peer: str, budget: int) -> tuple[str, dict[str, float]]:
        """The best cut in as many bytes, by the search text, and its divergence on each text."""
        options = pruned_options(self.shrinker, budget, lambda line: print("   ", line))
        best = min(options, key=lambda option: option.candidate.figures.kld_mean)
        figures = self._figures(f"pruned-{peer}", best.candidate.recipe, best.weights, best.importance)
        return best.candidate.label, {name: found.kld_mean for name, found in figures.items()}

    def _figures(
        self,
        key: str,
        recipe: Recipe,
        weights: Weights | None = None,
        importance: Importance | None = None,
    ) -> dict[str, Figures]:
        def find() -> dict[str, object]:
            path = self.folder.path("compared.gguf")
            self.shrinker.write(recipe, path, key, weights, importance)
            found = {name: asdict(judge.measure(path, key)) for name, judge in self.judges.items()}
            path.unlink()
            return found

        counts = "-".join(str(len(judge.windows)) for judge in self.judges.values())
        known = self.folder.once(f"{key.replace(':', '-')}-{counts}", find)
        return {name: Figures(**figures) for name, figures in known.items()}


def _compared(ours: Figures, theirs: Figures) -> dict[str, object]:
    ratio = paired_ratio(ours.windows, theirs.windows, range(len(ours.windows)))
    return {"ours": ours.kld_mean, "peer": theirs.kld_mean, **asdict(ratio)}


def main() -> None:
    """Compare with each peer, a row each."""
    parser = argparse.ArgumentParser(description="Compare recipes at equal bytes.")
    parser.add_argument("model", type=Path, help="a GGUF model in BF16")
    parser.add_argument("calibration", type=Path, help="the text both sides are calibrated on")
    parser.add_argument("--judge", type=Path, action="append", required=True, help="a text to judge on")
    parser.add_argument("--work", type=Path, required=True, help="a folder for what is found")
    parser.add_argument("--peers", default=PEERS, help="their names, with commas")
    parser.add_argument("--windows", type=int, help="so many windows of each text")
    parser.add_argument("--prune-at", default="Q2_K,Q3_K_M,Q4_K_M", help="peers in whose bytes to prune too")
    parser.add_argument("--rounds", type=int, default=24, help="changes of each recipe that are tried")
    parser.add_argument("--ram", help="memory budget")
    parser.add_argument("--plot", type=Path, help="draw the first text's losses against size here")
    parser.add_argument("--json", type=Path, help="keep the table here")
    given = parser.parse_args()
    comparison, pairs = Comparison(given), []
    for peer in given.peers.split(","):
        pair = comparison.run(peer)
        pairs.append(asdict(pair))
        for name, row in pair.texts.items():
            print(
                f"{peer:16} {pair.peer_bytes / 1e6:7.2f} MB  ours {pair.our_bytes / 1e6:7.2f}  {name:8} "
                f"{row['peer']:.5f} -> {row['ours']:.5f}  ratio {row['mean']:.3f} (up to {row['upper']:.3f})",
                flush=True,
            )
        if pair.pruned:
            print(f"{peer:16} pruned, {pair.pruned}: {pair.pruned_texts}", flush=True)
        if given.json is not None:
            given.json.write_text(json.dumps(pairs, indent=1))
    if given.plot is not None:
        draw(given.plot, list(_points(pairs, given.judge[0].stem)), comparison.model.name)


def _points(pairs: list[dict[str, Any]], text: str) -> Iterator[dict[str, object]]:
    """What sixgig.cli.picture draws, of one text: ours, pruned, and peers of one type."""
    for pair in pairs:
        peer, size = pair["peer"], pair["our_bytes"]
        found = {"label": "", "size_bytes": size, "kld_mean": pair["texts"][text]["ours"]}
        yield {"kind": "unpruned", **found}
        if pair["pruned"]:
            label = pair["pruned"].removeprefix("experts of ").split(" instead")[0]
            yield {**found, "kind": "pruned", "label": label, "kld_mean": pair["pruned_texts"][text]}
        kind = "plain" if peer.startswith("uniform:") else "mixture" if ":" not in peer else "routed"
        label, size = peer.split(":")[-1], pair["peer_bytes"]
        yield {"kind": kind, "label": label, "size_bytes": size, "kld_mean": pair["texts"][text]["peer"]}


if __name__ == "__main__":
    main()
