"""What `sixgig shrink` and `score` find of one file, in a process of its own: `python -m
bench.architectures.calibration_job`.

Two windows of token ids stand for the text. An order in JSON on stdin, facts in JSON on stdout.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.architectures.job import OPTIONS, answer
from sixgig.calibration.calibrate import Calibrator, default_samples
from sixgig.calibration.moments import accumulator_bytes
from sixgig.compress.distortion import measure_distortions
from sixgig.compress.sensitivity import Noise
from sixgig.compress.types import can_be_quantised
from sixgig.evaluate import BaseFile, BaseWriter, Windows, evaluate
from sixgig.families import Role
from sixgig.inference.engine import Engine
from sixgig.jobs.window_logits import logits_of
from sixgig.modelfile import ModelFile, open_model
from sixgig.weights.stored import StoredWeights

CONTEXT, N_WINDOWS, SAMPLES = 64, 2, 16
OPENED = replace(OPTIONS, context=CONTEXT)


def main() -> int:
    """As bench.architectures.job.answer()."""
    return answer({"calibrated": _calibrated})


def _calibrated(path: Path, out: Path) -> dict[str, Any]:
    np.savez(out)
    with TemporaryDirectory(prefix="calibrated-") as folder:
        return _facts(open_model(path), Path(folder))


def _facts(model: ModelFile, folder: Path) -> dict[str, Any]:
    """unreached: stems of matrices that met no input. itself: nats of the model's divergence from itself.
    disturbed: whether noise in all its matrices made it diverge."""
    tokens = np.random.default_rng(0).integers(3, 120, (N_WINDOWS, CONTEXT)).astype(np.int32)
    windows, path = Windows(tokens, None), model.parts[0]
    work = Calibrator(model, windows, folder / "calibration", default_samples(model, SAMPLES, SAMPLES))
    with Engine(path, replace(OPENED, all_logits=False), observe=work.collector) as engine:
        found = work.run(partial(_feed, engine))
    with Engine(path, OPENED) as engine, BaseWriter(folder / "b", windows, engine.vocabulary.size) as base:
        score = evaluate(windows, partial(logits_of, engine), writer=base)
    weights = StoredWeights(model)
    matrices = [info for info in weights.tensors if can_be_quantised(info)]
    noise = Noise([info.name for info in matrices], measure_distortions(weights, found.importance, 2))
    with Engine(path, OPENED, observe=noise) as engine, BaseFile(folder / "b") as base:

        def divergence() -> float:
            scored = evaluate(windows, partial(logits_of, engine), base).divergence
            assert scored is not None
            return scored.kld_mean

        itself = divergence()
        noise.set({info.name: 0.25 for info in matrices})
        disturbed = divergence()
    missed = [info for info in matrices if found.moments(info.name) is None]
    held = [one for moments in found.moments_by_first.values() for one in vars(moments).values()]
    return {
        "perplexity": score.perplexity,
        "itself": itself,
        "disturbed": disturbed > max(1e-3, 10 * abs(itself)),
        "within": sum(one.nbytes for one in held) <= accumulator_bytes(model),
        "unreached": sorted({_stem(info.name) for info in missed if info.role is not Role.EMBEDDING}),
    }


def _feed(engine: Engine, tokens: Sequence[int]) -> None:
    engine.clear()
    engine.prefill(tokens)


def _stem(name: str) -> str:
    return name.split(".", 2)[-1] if name.startswith("blk.") else name


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
