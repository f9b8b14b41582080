"""Scores of files against the source, on windows of one text; the source's predictions are kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sixgig.compress.engines import Engines
from sixgig.evaluate import SCRATCH_BYTES, BaseFile, BaseWriter, LogitsOf, Score, Windows, evaluate
from sixgig.evaluate.intervals import Interval
from sixgig.modelfile import ModelFile, open_model

_WITH_INTERVALS = ("perplexity", "kld_mean", "kld_p99", "kld_p999", "same_top1")


@dataclass(frozen=True)
class Figures:
    """Of one file on one text: perplexity, and divergence from the source in nats a token; standard errors.

    same_top1: a share of tokens. windows: the divergence by window, so that files can be compared in pairs.
    intervals: 95%, by the figure's name.
    """

    perplexity: float
    perplexity_error: float
    kld_mean: float
    kld_error: float
    kld_p99: float
    kld_p999: float
    kld_max: float
    same_top1: float
    n_tokens: int
    windows: tuple[float, ...]
    intervals: Mapping[str, Interval]

    @staticmethod
    def of(score: Score) -> Figures:
        """From a score with a divergence."""
        found = score.divergence
        assert found is not None, "scored without a reference"
        sums = np.bincount(score.windows, weights=score.tokens.kld) / np.bincount(score.windows)
        return Figures(
            score.perplexity,
            score.perplexity_error,
            found.kld_mean,
            found.kld_error,
            found.kld_p99,
            found.kld_p999,
            found.kld_max,
            found.same_top1,
            score.n_tokens,
            tuple(float(value) for value in sums),
            {name: score.intervals[name] for name in _WITH_INTERVALS},
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; an interval is [lower, upper]."""
        intervals = {name: interval.to_json() for name, interval in self.intervals.items()}
        return {**vars(self), "windows": list(self.windows), "intervals": intervals}

    @staticmethod
    def from_json(known: Mapping[str, Any]) -> Figures:
        """What to_json() gave."""
        intervals = {name: Interval(known[name], *bounds) for name, bounds in known["intervals"].items()}
        return Figures(**{**known, "windows": tuple(known["windows"]), "intervals": intervals})

    @property
    def kld_words(self) -> str:
        """The mean divergence with what it is known to, and on how many tokens."""
        half = self.intervals["kld_mean"].half
        assert half is not None, "means are bounded"
        return f"{self.kld_mean:.5f} ± {half:.5f} nats on {self.n_tokens} tokens"


class Yardstick:
    """The source's predictions on `windows`, kept in `base_path`; files are measured against them."""

    def __init__(self, engines: Engines, source: ModelFile, windows: Windows, base_path: Path) -> None:
        self._engines, self._source, self.windows, self._path = engines, source, windows, base_path

    def prepare(self, label: str) -> None:
        """Run the source over the windows, unless that was done; the file appears whole."""
        if self._path.exists():
            return
        with (
            self._engines.open(self._source, self.windows.context, beside_bytes=SCRATCH_BYTES) as model,
            self._engines.progress(label) as progress,
            BaseWriter(self._path, self.windows, self._source.n_vocab) as writer,
        ):
            evaluate(self.windows, model.logits_of, writer=writer, progress=progress)

    def measure(self, path: Path, label: str) -> Figures:
        """One file's figures."""
        with (
            self._engines.open(open_model(path), self.windows.context, beside_bytes=SCRATCH_BYTES) as model,
            self._engines.progress(label) as progress,
            BaseFile(self._path) as base,
        ):
            return Figures.of(evaluate(self.windows, model.logits_of, base, progress=progress))

    def divergence(self, logits_of: LogitsOf, base: BaseFile, n_windows: int) -> float:
        """Nats a token of an open model on the first windows."""
        score = evaluate(self.windows.leading(n_windows), logits_of, base)
        return Figures.of(score).kld_mean

    def open_base(self) -> BaseFile:
        """The stored predictions."""
        return BaseFile(self._path)
