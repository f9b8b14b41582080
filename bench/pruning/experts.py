"""What fewer and narrower experts cost, by criterion, with and without what makes up for them.

    python -m bench.pruning.experts MODEL CALIBRATION_TEXT TEXT --work FOLDER [--windows N] [--judged N]

Every variant is written as a GGUF file in the source's types and compared with the source: windows of 512
tokens without overlap, each scored from its second token, stock engine, extra buffer types off. The
calibration in the work folder is reused.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench.demo_quality import WINDOW, Floats, log_probabilities, scores
from sixgig.calibration.calibrate import Calibrator, Feed, default_samples
from sixgig.calibration.calibration import Calibration
from sixgig.calibration.moments import Collector
from sixgig.compress.write import Job, write_model
from sixgig.evaluate import Windows, cut
from sixgig.inference import Engine, EngineOptions
from sixgig.modelfile import ModelFile, open_model
from sixgig.pruning.expert_tensors import ExpertShapes
from sixgig.pruning.experts import Criterion, best_experts, drop_experts, keep_experts
from sixgig.pruning.rerouting import recalibrate_routers
from sixgig.pruning.widths import narrow_experts
from sixgig.weights.cut import Cut, CutWeights, Indices
from sixgig.weights.stored import StoredWeights, Weights

RANDOM_SEEDS = 3
OPTIONS = EngineOptions(context=WINDOW, ubatch=WINDOW, extra_buffers=False, all_logits=True)
Make = Callable[[], Weights]


def windows_of(path: Path, text: Path, limit: int, all_over: bool) -> Windows:
    """Windows of a text: the first `limit`, or that many spread over it."""
    with Engine(path, OPTIONS) as engine:
        found = cut(engine.vocabulary.tokenize(text.read_text()), WINDOW)
    step = max(1, len(found) // limit) if all_over else 1
    return Windows(found.tokens[::step][:limit], found.bos)


def calibrated(model: ModelFile, windows: Windows, folder: Path, rows: int) -> Calibration:
    """One pass over the windows, keeping `rows` inputs of every expert, four times as many of the rest."""
    run = Calibrator(model, windows, folder, default_samples(model, 4 * rows, rows), "calibration text")
    with Engine(model.parts[0], OPTIONS, observe=run.collector) as engine:
        return run.run(feeding(engine, run.collector))


def feeding(engine: Engine, _collector: Collector) -> Feed:
    """Windows from an empty context."""

    def feed(tokens: object) -> None:
        engine.clear()
        engine.feed(tokens)  # type: ignore[arg-type]

    return feed


class Judge:
    """The source's log-probabilities on the windows judged, and comparisons with them."""

    def __init__(self, source: Path, windows: Windows, scratch: Path) -> None:
        self.windows, self.scratch = windows.tokens.tolist(), scratch
        with Engine(source, OPTIONS) as engine:
            self.reference = [log_probabilities(engine, window) for window in self.windows]

    def figures(self, weights: Weights) -> Floats:
        """Mean over all tokens: loss of the source, loss of the variant, divergence, same first choice."""
        types = {info.name: info.type for info in weights.tensors}
        write_model(Job(weights, types, lambda name: None, {}), self.scratch, 2)
        with Engine(self.scratch, OPTIONS) as engine:
            found = [
                scores(theirs, log_probabilities(engine, window), window[1:])
                for theirs, window in zip(self.reference, self.windows, strict=True)
            ]
        return np.concatenate(found, axis=1).mean(axis=1)


def chosen_by(weights: Weights, keep: int, score: Callable[[int], Floats]) -> Cut:
    """Experts with the highest scores in each layer."""
    layers = ExpertShapes(weights).layers
    kept: dict[int, Indices] = {n.number: best_experts(score(n.number).astype(float), keep) for n in layers}
    return keep_experts(weights, kept, "by another criterion")


def fewer(weights: Weights, calibration: Calibration, keep: int) -> Iterator[tuple[str, Make]]:
    """Ways to leave `keep` experts."""
    n_experts = ExpertShapes(weights).n_experts

    def drawn(seed: int) -> Weights:
        random = np.random.default_rng(seed)
        return CutWeights(
            weights, chosen_by(weights, keep, lambda layer: random.random(n_experts, np.float32))
        )

    def frequent() -> Weights:
        use = calibration.experts
        return CutWeights(
            weights, chosen_by(weights, keep, lambda layer: use[layer].routed.astype(np.float32))
        )

    def ranked(criterion: Criterion, *, refitted: bool = False) -> Weights:
        found = drop_experts(weights, calibration, keep, criterion)
        return CutWeights(weights, recalibrate_routers(weights, calibration, found) if refitted else found)

    for seed in range(RANDOM_SEEDS):
        yield f"{keep} experts, random {seed}", lambda seed=seed: drawn(seed)  # type: ignore[misc]
    yield f"{keep} experts, most routed to", frequent
    yield f"{keep} experts, REAP", lambda: ranked(Criterion.SALIENCY)
    yield f"{keep} experts, damage", lambda: ranked(Criterion.DAMAGE)
    yield f"{keep} experts, damage, routers refitted", lambda: ranked(Criterion.DAMAGE, refitted=True)


def narrower(
    weights: Weights, calibration: Calibration, width: int, work: Path
) -> Iterator[tuple[str, Make]]:
    """Ways to leave `width` channels."""
    for name, folder in ((f"width {width}", None), (f"width {width}, folded", work)):
        yield (
            name,
            lambda folder=folder: CutWeights(weights, narrow_experts(weights, calibration, width, folder)),
        )  # type: ignore[misc]


def variants(weights: Weights, calibration: Calibration, work: Path) -> Iterator[tuple[str, Make]]:
    """A quarter and half less, of experts, of channels, and of both."""
    shapes = ExpertShapes(weights)
    for keep in (shapes.n_experts * 3 // 4, shapes.n_experts // 2):
        yield from fewer(weights, calibration, keep)
    for width in (shapes.width * 3 // 4, shapes.width // 2):
        yield from narrower(weights, calibration, width, work)

    def both() -> Weights:
        dropped = CutWeights(weights, drop_experts(weights, calibration, shapes.n_experts * 3 // 4))
        return CutWeights(dropped, narrow_experts(dropped, calibration, shapes.width * 3 // 4, work))

    yield "a quarter less of both, folded", both


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Measure expert pruning.")
    parser.add_argument(
        "model", type=Path, help="the model as GGUF, of plain numbers if any width is to be written"
    )
    parser.add_argument("calibration", type=Path, help="text to calibrate on")
    parser.add_argument("text", type=Path, help="text to judge on, apart from the other")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for the calibration and scratch files"
    )
    parser.add_argument(
        "--windows", type=int, default=64, help="windows to calibrate on, spread over the text"
    )
    parser.add_argument("--judged", type=int, default=16, help="windows to judge on, spread over the text")
    parser.add_argument("--rows", type=int, default=512, help="inputs kept of every expert")
    parser.add_argument("--only", default="", help="measure only variants with this in their name")
    given = parser.parse_args()
    model = open_model(given.model)
    learnt = windows_of(given.model, given.calibration, given.windows, all_over=True)
    calibration = calibrated(model, learnt, given.work / "calibration", given.rows)
    judge = Judge(
        given.model,
        windows_of(given.model, given.text, given.judged, all_over=True),
        given.work / "variant.gguf",
    )
    for name, make in variants(StoredWeights(model), calibration, given.work):
        if given.only not in name:
            continue
        source, ours, divergence, same = judge.figures(make())
        print(f"{name:40}  perplexity {np.exp(source):.3f} -> {np.exp(ours):8.3f}", end="  ")
        print(f"KLD {divergence:.4f}  same first choice {same:.1%}")


if __name__ == "__main__":
    main()
