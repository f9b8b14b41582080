"""One streamed pass over a text that leaves a Calibration; a killed run goes on where it was saved."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from sixgig.calibration.calibration import FILE, SAMPLES, Calibration, Progress, save
from sixgig.calibration.moments import Collector, ExpertUse, Moments, Stream, n_matrices
from sixgig.calibration.samples import SampleFile, SampleLayout
from sixgig.errors import ModelFileError
from sixgig.evaluate import Windows
from sixgig.families.terms.names import ATTENTION_OUTPUT, FEED_FORWARD, ROUTED, ROUTER, weight_in
from sixgig.modelfile import ModelFile
from sixgig.modelfile.content import model_digest

SAVE_EVERY_S = 30.0
_SAVING_SHARE = 0.05  # of the time, at most
ROWS_OF_ONE, ROWS_OF_EACH = 1024, 128
_VERSION = 2
_SAMPLED = (FEED_FORWARD.down, ROUTED.down, ATTENTION_OUTPUT, ROUTER)
Feed = Callable[[Sequence[int]], object]
"""Evaluates a window's tokens from an empty context, in the engine that was opened with the collector."""


def default_samples(
    model: ModelFile, rows_of_one: int = ROWS_OF_ONE, rows_of_each: int = ROWS_OF_EACH
) -> dict[str, int]:
    """How many inputs to keep by weight: of down projections, attention outputs and routers.

    rows_of_one: for a weight of one matrix; rows_of_each: for each matrix of a stack, so of each expert.
    """
    names = {weight_in(layer, stem) for layer in range(model.n_layers) for stem in _SAMPLED}
    return {
        tensor.name: rows_of_one if n_matrices(tensor) == 1 else rows_of_each
        for tensor in model.tensors
        if tensor.name in names
    }


def sample_layout(model: ModelFile, samples: Mapping[str, int]) -> SampleLayout:
    """Where `samples` rows of each matrix lie; its `size_bytes` is what they take on disk."""
    tensors = {tensor.name: tensor for tensor in model.tensors}
    shapes = {name: (n_matrices(tensors[name]), cap, tensors[name].shape[0]) for name, cap in samples.items()}
    return SampleLayout.of(shapes)


class Calibrator:
    """A run in a work folder. `collector` observes the engine that `run` feeds.

    windows: of the text; every token of each is fed and counted. samples: rows to keep by weight name, as
    default_samples() gives. text: its name, for the record. settings: what else decides the figures to the
    last bit, such as the engine's options. digest: of what the model holds, where the caller knows it. A
    folder that holds a run of another model, text or settings is begun anew. Raises BudgetError where the
    disk has no room for the samples, OSError.
    """

    def __init__(
        self,
        model: ModelFile,
        windows: Windows,
        folder: Path,
        samples: Mapping[str, int] | None = None,
        text: str = "",
        settings: str = "",
        digest: str | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.windows, self.folder = windows, folder
        layout = sample_layout(model, samples or {})
        digest = _digest(digest or model_digest(model), windows, layout, text, settings)
        self.progress = Progress(digest, 0, len(windows), windows.context, text)
        before = _before(folder, digest)
        self.collector = Collector(model)
        if before is None:
            (folder / FILE).unlink(missing_ok=True)  # its samples go next
        else:
            self.progress = before.progress
            _restore(self.collector, before)
        seen = None if before is None else before.seen
        self.collector.samples = SampleFile(folder / SAMPLES, layout, seen) if layout.places else None

    def run(
        self,
        feed: Feed,
        progress: Callable[[float], object] = lambda fraction: None,
        save_every_s: float = SAVE_EVERY_S,
    ) -> Calibration:
        """Feed the windows that are left, saving now and then; the calibration, when all are read.

        save_every_s: seconds between two saves, more where a save takes long; 0 saves after every window.

        `progress` gets the fraction done. Raises what `feed` and the collector raise, OSError; what was saved
        stays and another run takes up there, with the same result to the last bit.
        """
        due_s = time.monotonic() + save_every_s
        for number in range(self.progress.n_done, len(self.windows)):
            feed(whole(self.windows, number))
            self.progress = replace(self.progress, n_done=number + 1)
            if self.progress.complete or time.monotonic() >= due_s:
                rest_s = self._saved_in_s() / _SAVING_SHARE
                due_s = time.monotonic() + (save_every_s and max(save_every_s, rest_s))
            progress(self.progress.n_done / len(self.windows))
        return Calibration.load(self.folder)

    def _saved_in_s(self) -> float:
        """Save; how long it took."""
        began_s = time.monotonic()
        save(self.folder, self.collector, self.progress)
        return time.monotonic() - began_s

    @property
    def complete(self) -> bool:
        """Whether nothing is left to feed: run() then needs no engine."""
        return self.progress.complete


def whole(windows: Windows, number: int) -> list[int]:
    """All tokens of a window, its first replaced by BOS where the vocabulary adds one."""
    row: list[int] = windows.tokens[number].tolist()
    return row if windows.bos is None else [windows.bos, *row[1:]]


def _digest(model: str, windows: Windows, layout: SampleLayout, text: str, settings: str) -> str:
    """Of all that decides the result."""
    known = (_VERSION, model, windows.tokens.shape, windows.bos, layout, text, settings)
    return sha256(repr(known).encode() + windows.tokens.tobytes()).hexdigest()


def _before(folder: Path, digest: str) -> Calibration | None:
    """What an earlier run with the same digest left."""
    if not (folder / FILE).exists():
        return None
    try:
        found = Calibration.load(folder)
    except ModelFileError:
        return None
    size = found.sample_layout.size_bytes
    intact = size == 0 or (found.samples_path.exists() and found.samples_path.stat().st_size == size)
    return found if intact and found.progress.digest == digest else None


def _restore(collector: Collector, saved: Calibration) -> None:
    """Go on from copies of what was saved."""
    collector.same_input.update(saved.same_input)
    for name, moments in saved.moments_by_first.items():
        collector.moments[name] = Moments(*map(np.array, vars(moments).values()))
    for layer, use in saved.experts.items():
        collector.experts[layer] = ExpertUse(*map(np.array, vars(use).values()))
    collector.stream_sums = Stream(*map(np.array, vars(saved.stream).values()))
