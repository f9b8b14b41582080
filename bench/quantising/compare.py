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
from sixgig.compress.choose import Recipe
from sixgig.compress.curve import Kind, LossPoint
from sixgig.compress.measuring import Figures, Yardstick
from sixgig.compress.search import best, search_cuts, search_types
from sixgig.compress.shrinker import CONTEXT, Shrinker, Variant
from sixgig.compress.texts import divide
from sixgig.compress.workfolder import WorkFolder
from sixgig.evaluate import Windows, cut, paired_ratio, rest
from sixgig.jobs.pictures import draw
from sixgig.jobs.reporter import Reporter
from sixgig.jobs.shrink_engines import BudgetedEngines
from sixgig.jobs.texts import read_text
from sixgig.modelfile import open_model
from sixgig.modelfile.content import model_digest
from sixgig.pruning.proposals import NarrowerExperts
from sixgig.units import parse_memory

PEERS = (
    "Q2_K,Q3_K_M,Q4_K_M,Q5_K_M,"
    "routed:Q2_K,routed:IQ3_XXS,routed:Q3_K,routed:IQ4_XS,routed:Q4_K,routed:Q5_K,"
    "uniform:Q2_K,uniform:Q3_K,uniform:IQ4_XS,uniform:Q4_K,uniform:Q5_K,uniform:Q6_K"
)

_KINDS = {"uniform": Kind.PLAIN, "routed": Kind.ROUTED, "": Kind.MIXTURE}


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


class Printing(Reporter):
    """Says on stdout what the search says."""

    def say(self, words: str) -> None:
        """Indented below the peer's row."""
        print("   ", words)


class Comparison:
    """Peers one after another; everything measured is kept in the work folder."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.engines = BudgetedEngines(given.ram and parse_memory(given.ram), reporter=Printing())
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
        whole = self.shrinker.whole
        theirs = self._figures(f"peer-{peer}", whole, Recipe(types, budget, 0.0))
        found = search_types(self.shrinker, budget, self.given.rounds)
        ours = self._figures(f"ours-{peer}-{self.given.rounds}", whole, found.recipe)
        used: dict[str, int] = {}
        for kind in found.recipe.types.values():
            used[kind] = used.get(kind, 0) + 1
        texts = {name: _compared(ours[name], theirs[name]) for name in self.judges}
        pruned, figures = self._pruned(peer, budget) if peer in self.given.prune_at.split(",") else ("", {})
        return Pair(peer, budget, found.recipe.size_bytes, used, texts, pruned, figures)

    def _pruned(self, peer: str, budget: int) -> tuple[str, dict[str, float]]:
        """The best cut in as many bytes, by the search text, and its divergence on each text."""
        found = best(search_cuts(self.shrinker, budget))
        if found is None:
            return "", {}
        figures, cut = self._figures(f"pruned-{peer}", found.variant, found.recipe), found.variant.cut
        label = f"width {cut.width}" if isinstance(cut, NarrowerExperts) else str(cut)
        return label, {name: figure.kld_mean for name, figure in figures.items()}

    def _figures(self, key: str, variant: Variant, recipe: Recipe) -> dict[str, Figures]:
        def find() -> dict[str, object]:
            with self.shrinker.written(variant, recipe, key) as path:
                return {name: judge.measure(path, key).to_json() for name, judge in self.judges.items()}

        counts = "-".join(str(len(judge.windows)) for judge in self.judges.values())
        known = self.folder.once(f"{key.replace(':', '-')}-{counts}", find)
        return {name: Figures.from_json(figures) for name, figures in known.items()}


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


def _points(pairs: list[dict[str, Any]], text: str) -> Iterator[LossPoint]:
    """What is drawn of one text: ours, pruned, and the peers."""
    for pair in pairs:
        figures, size_bytes = pair["texts"][text], pair["our_bytes"]
        yield _point(Kind.UNPRUNED, "", size_bytes, figures["ours"])
        if pair["pruned"]:
            yield _point(Kind.PRUNED, pair["pruned"], size_bytes, pair["pruned_texts"][text])
        rule, _, label = pair["peer"].rpartition(":")
        yield _point(_KINDS[rule], label, pair["peer_bytes"], figures["peer"])


def _point(kind: Kind, label: str, size_bytes: int, kld_mean: float) -> LossPoint:
    return LossPoint(kind, label, size_bytes, kld_mean, kld_mean, kld_mean)


if __name__ == "__main__":
    main()
