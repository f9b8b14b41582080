"""What pruning heads and channels costs, ours against plain implementations, every model a GGUF in BF16.

    python -m bench.pruning.compare prepare HF_FOLDER WORK --calibrate TRAIN --judge TEXT [TEXT ...]
    TORCH_PYTHON -m bench.pruning.faithful HF_FOLDER WORK
    python -m bench.pruning.compare measure WORK
    TORCH_PYTHON -m bench.pruning.check HF_FOLDER WORK WORK/ours-*.gguf

20% and 50% of the weights of attention and feed-forward go. A seed draws the windows of the calibration text;
ours and the peers see the same ones. Perplexity over windows of 512 tokens without overlap, spread over the
text to be judged, each scored from its second token: stock engine, KV cache in F32, extra buffer types off.
"global" files are written as `deci`. The last step computes some perplexities again, in torch.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.demo_quality import WINDOW, log_probabilities
from sixgig.calibration.calibrate import Calibrator, default_samples
from sixgig.calibration.calibration import Calibration
from sixgig.checkpoint import convert
from sixgig.compress.write import Job, write_model
from sixgig.evaluate import Windows
from sixgig.inference import Engine, EngineOptions
from sixgig.modelfile import TYPE_BY_NAME, GgmlType, open_model
from sixgig.pruning.dense_metadata import metadata_of
from sixgig.pruning.dense_tensors import attention_parts, feed_forward_parts, places
from sixgig.pruning.flap import Compensation, Form, Target, flap
from sixgig.weights.cut import Cut, CutWeights, TensorCut
from sixgig.weights.stored import StoredWeights, WeightInfo, Weights

FRACTIONS, SEEDS = (0.2, 0.5), (0, 1, 2)
OPTIONS = EngineOptions(
    context=WINDOW, ubatch=WINDOW, extra_buffers=False, all_logits=True, type_k="F32", type_v="F32"
)
Tokens = NDArray[np.int32]


def prepare(folder: Path, work: Path, text: Path, judged: list[Path], n_learnt: int, n_judged: int) -> None:
    """Convert the model, cut the windows."""
    work.mkdir(parents=True, exist_ok=True)
    convert(folder, work / "dense.gguf")
    with Engine(work / "dense.gguf", OPTIONS) as engine:
        learnt = windows_of(engine, text)
        found = {f"judged.{path.parent.name}": thinned(windows_of(engine, path), n_judged) for path in judged}
    for seed in SEEDS:
        found[f"calibration.{seed}"] = np.random.default_rng(seed).permutation(learnt)[:n_learnt]
    np.savez(work / "windows.npz", **found)  # type: ignore[arg-type]


def windows_of(engine: Engine, text: Path) -> Tokens:
    """[windows, WINDOW]."""
    tokens = np.array(engine.vocabulary.tokenize(text.read_text()), np.int32)
    return tokens[: len(tokens) // WINDOW * WINDOW].reshape(-1, WINDOW)


def thinned(windows: Tokens, count: int) -> Tokens:
    """`count` of them, spread evenly; all for 0."""
    return windows[:: max(1, len(windows) // count)][:count] if count else windows


def calibrated(weights: Weights, windows: Tokens, folder: Path) -> Calibration:
    """Our own pass over the windows."""
    model = weights.model
    run = Calibrator(model, Windows(windows), folder, default_samples(model), "training text")
    with Engine(model.parts[0], OPTIONS, observe=run.collector) as engine:

        def feed(tokens: object) -> None:
            engine.clear()
            engine.feed(tokens)  # type: ignore[arg-type]

        return run.run(feed)


def chosen_by_peer(weights: Weights, path: Path) -> Weights:
    """A peer's choice as a cut: under the name of `deci` where layers differ."""
    heads, channels, cut = attention_parts(weights), feed_forward_parts(weights), np.load(path)
    names = [*(f"groups.{part.layer}" for part in heads), *(f"channels.{part.layer}" for part in channels)]
    kept = [cut[name] for name in names]
    tensors, biases = {}, {}
    for part, units in zip((*heads, *channels), kept, strict=True):
        for info in part.makers:
            tensors[info.name] = TensorCut(rows=places(units, info.n_rows // part.n_units))
        tensors[part.output.name] = TensorCut(columns=places(units, part.unit_inputs))
        stem = "output" if part in heads else "down"
        if f"{stem}.{part.layer}" in cut:
            biases[part.output.name.removesuffix("weight") + "bias"] = cut[f"{stem}.{part.layer}"]
    carrier = "deci" if "global" in path.name else weights.model.architecture
    return CutWeights(
        weights, Cut(tensors, biases, metadata_of(weights.model, carrier, [*heads, *channels], kept))
    )


def ours(
    weights: Weights, calibration: Calibration, fraction: float, work: Path
) -> Iterator[tuple[str, Weights]]:
    """Every form with every compensation it carries, and what an architecture without biases gets."""
    for form, name in ((Form.ADAPTIVE, "global"), (Form.UNIFORM, "uniform")):
        for compensation in Compensation:
            cut = flap(weights, calibration, Target(fraction, form, compensation), work)
            yield f"ours, {name}, {compensation}", CutWeights(weights, cut)
    target = Target(fraction, Form.UNIFORM, biased=False)
    yield (
        "ours, uniform, regression without bias",
        CutWeights(weights, flap(weights, calibration, target, work)),
    )


def written(weights: Weights, path: Path) -> Path:
    """In BF16, biases and norms in F32."""

    def kind(info: WeightInfo) -> GgmlType:
        return TYPE_BY_NAME["BF16"] if len(info.shape) > 1 else TYPE_BY_NAME["F32"]

    write_model(
        Job(weights, {info.name: kind(info) for info in weights.tensors}, lambda name: None, {}), path, 2
    )
    return path


def perplexities(path: Path, texts: dict[str, Tokens]) -> dict[str, float]:
    """By text."""
    with Engine(path, OPTIONS) as engine:
        return {name: perplexity(engine, windows) for name, windows in texts.items()}


def perplexity(engine: Engine, windows: Tokens) -> float:
    """Over all windows, each from its second token."""
    losses = [
        -log_probabilities(engine, window.tolist())[np.arange(WINDOW - 1), window[1:]].mean(dtype=np.float64)
        for window in windows
    ]
    return float(np.exp(np.mean(losses)))


class Table:
    """Results as they come, and their means over seeds at the end."""

    def __init__(self, texts: dict[str, Tokens], scratch: Path) -> None:
        self.texts, self.scratch = texts, scratch
        self.rows = dict[tuple[str, float], list[dict[str, float]]]()

    def add(self, name: str, fraction: float, seed: object, weights: Weights) -> None:
        """Judge one variant."""
        found = perplexities(written(weights, self.scratch), self.texts)
        self.rows.setdefault((name, fraction), []).append(found)
        size = sum(info.n_elements for info in weights.tensors) / 1e6
        figures = "  ".join(f"{text} {value:9.3f}" for text, value in found.items())
        print(f"{fraction:4.0%}  seed {seed}  {name:42} {size:6.2f}M weights  {figures}", flush=True)

    def show(self) -> None:
        """Mean, lowest and highest over seeds."""
        for (name, fraction), seeds in sorted(self.rows.items(), key=lambda item: (item[0][1], item[0][0])):
            columns = []
            for text in self.texts:
                values = [found[text] for found in seeds]
                columns.append(f"{text} {np.mean(values):9.2f} ({min(values):.2f} to {max(values):.2f})")
            print(f"{fraction:4.0%}  {name:42} {'  '.join(columns)}")


def measure(work: Path, seeds: list[int]) -> None:
    """All peers and ours."""
    windows = np.load(work / "windows.npz")
    table = Table(
        {key[7:]: windows[key] for key in windows.files if key.startswith("judged.")}, work / "variant.gguf"
    )
    weights = StoredWeights(open_model(work / "dense.gguf"))
    table.add("dense", 0.0, "-", weights)
    for path in sorted((work / "peers").glob("*.npz")):
        name, fraction, *seed = path.stem.rsplit(" ", 2 if path.stem[-2] == " " else 1)
        if not seed or int(seed[0]) in seeds:
            table.add(name, float(fraction), "".join(seed) or "-", chosen_by_peer(weights, path))
    for seed in seeds:
        calibration = calibrated(weights, windows[f"calibration.{seed}"], work / f"calibration-{seed}")
        for fraction in FRACTIONS:
            for name, variant in ours(weights, calibration, fraction, work / "foldings"):
                table.add(name, fraction, seed, variant)
                if name == "ours, global, regression":
                    (work / "variant.gguf").replace(work / f"ours-{fraction}-{seed}.gguf")
    table.show()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Compare structured pruning.")
    commands = parser.add_subparsers(dest="step", required=True)
    first = commands.add_parser("prepare", help="convert the model and cut the windows")
    first.add_argument("folder", type=Path, help="the model, a Hugging Face folder")
    first.add_argument("work", type=Path, help="folder for all that is made")
    first.add_argument("--calibrate", type=Path, required=True, help="text to calibrate on")
    first.add_argument("--judge", type=Path, nargs="+", required=True, help="texts to judge on")
    first.add_argument("--windows", type=int, default=64, help="windows to calibrate on")
    first.add_argument("--judged", type=int, default=0, help="windows to judge on, of each text; 0 for all")
    second = commands.add_parser("measure", help="write and judge every variant")
    second.add_argument("work", type=Path, help="the same folder")
    second.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="of those prepared")
    given = parser.parse_args()
    if given.step == "prepare":
        prepare(given.folder, given.work, given.calibrate, given.judge, given.windows, given.judged)
    else:
        measure(given.work, given.seeds)


if __name__ == "__main__":
    main()
