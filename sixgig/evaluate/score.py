"""A model's score on a text: perplexity, and the divergence from a reference.

Definitions of llama.cpp's perplexity tool. Errors (`..._error`) are its too: standard errors of a mean over
tokens taken as independent. Tokens of one window are not: `intervals` heeds that and is wider, and two
models are compared with paired_ratio(), which draws whole windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import UsageError
from sixgig.evaluate import intervals
from sixgig.evaluate.divergence import TokenFigures
from sixgig.evaluate.intervals import Interval
from sixgig.evaluate.log_probabilities import Floats

_QUANTILES = {"kld_median": 0.5, "kld_p90": 0.9, "kld_p95": 0.95, "kld_p99": 0.99, "kld_p999": 0.999}


@dataclass(frozen=True)
class Divergence:
    """Against the reference, in nats. kld_p99: 99% of the tokens diverge less. same_top1: share of
    positions whose likeliest token is the same. rms_p_change: root mean square of the change of the
    probability of the token that came. log_ratio: mean ln(perplexity / base_perplexity)."""

    kld_mean: float
    kld_error: float
    kld_median: float
    kld_p90: float
    kld_p95: float
    kld_p99: float
    kld_p999: float
    kld_max: float
    same_top1: float
    same_top1_error: float
    rms_p_change: float
    rms_p_change_error: float
    log_ratio: float
    log_ratio_error: float
    base_perplexity: float
    base_perplexity_error: float

    @classmethod
    def of(cls, figures: TokenFigures) -> Divergence:
        """From one value per token."""
        ranks = np.quantile(figures.kld, [*_QUANTILES.values(), 1.0]).tolist()
        square, square_error = _mean(figures.p_change**2)
        rms = square**0.5
        top1, n_tokens = float(figures.same_top1.mean()), len(figures.kld)
        values = (
            *_mean(figures.kld),
            *ranks,
            top1,
            (top1 * (1 - top1) / max(1, n_tokens - 1)) ** 0.5,
            rms,
            square_error / (2 * rms) if rms else 0.0,
            *_mean(figures.nll - figures.base_nll),
            *_perplexity(figures.base_nll),
        )
        return cls(**dict(zip((one.name for one in fields(cls)), values, strict=True)))


@dataclass(frozen=True)
class Score:
    """tokens: one value per scored token; windows: the window each is of, int64 [n_tokens]. divergence: None
    without a reference."""

    perplexity: float
    perplexity_error: float
    n_tokens: int
    n_windows: int
    divergence: Divergence | None
    tokens: TokenFigures = field(repr=False)
    windows: NDArray[np.int64] = field(repr=False)

    @classmethod
    def of(cls, figures: TokenFigures, windows: NDArray[np.int64]) -> Self:
        """From one value per token."""
        against = Divergence.of(figures) if len(figures.kld) else None
        n_tokens, n_windows = len(figures.nll), len(np.unique(windows))
        return cls(*_perplexity(figures.nll), n_tokens, n_windows, against, figures, windows)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Of every figure but the largest divergence, 95%, by the figure's name."""
        tokens, windows = self.tokens, self.windows
        found = {"perplexity": _exponential(intervals.of_mean(tokens.nll, windows))}
        if self.divergence is None:
            return found
        return {
            **found,
            "base_perplexity": _exponential(intervals.of_mean(tokens.base_nll, windows)),
            "log_ratio": intervals.of_mean(tokens.nll - tokens.base_nll, windows),
            "kld_mean": intervals.of_mean(tokens.kld, windows),
            **{name: intervals.of_quantile(tokens.kld, windows, at) for name, at in _QUANTILES.items()},
            "same_top1": intervals.of_share(tokens.same_top1, windows),
            "rms_p_change": _root(intervals.of_mean(tokens.p_change**2, windows)),
        }

    def to_json(self) -> dict[str, Any]:
        """Every figure by its name; those of the divergence are null without a reference. intervals: [lower,
        upper] by the figure's name."""
        compared = {one.name: getattr(self.divergence, one.name, None) for one in fields(Divergence)}
        return {
            "perplexity": self.perplexity,
            "perplexity_error": self.perplexity_error,
            **compared,
            "n_tokens": self.n_tokens,
            "n_windows": self.n_windows,
            "n_tokens_wanted": intervals.TOKENS_WANTED,
            "intervals": {name: found.to_json() for name, found in self.intervals.items()},
        }


@dataclass(frozen=True)
class Ratio:
    """How many times larger the first mean is, with the bounds of its 95% interval."""

    mean: float
    lower: float
    upper: float


def paired_ratio(
    first: Sequence[float] | Floats,
    second: Sequence[float] | Floats,
    windows: Sequence[int] | NDArray[np.int64],
    n: int = 2000,
    seed: int = 0,
) -> Ratio:
    """Mean of `first` over mean of `second`, both of the same tokens; `windows` names the window of each.

    The interval is a percentile bootstrap of `n` draws of whole windows with replacement: tokens of one
    window depend on each other. Raises UsageError where the second mean is not above 0 in every draw.
    """
    _, window = np.unique(np.asarray(windows), return_inverse=True)
    sums = [_sums(values, window) for values in (first, second)]
    random, n_windows = np.random.default_rng(seed), len(sums[0])
    drawn = np.array([_draw(random, n_windows, sums) for _ in range(n)])
    if not (drawn[:, 1] > 0).all():
        raise UsageError("there is no ratio to nothing", "the second divergence is 0", "use more windows")
    lower, upper = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return Ratio(float(sums[0].sum() / sums[1].sum()), float(lower), float(upper))


def _sums(values: Sequence[float] | Floats, window: NDArray[np.intp]) -> Floats:
    """The sum of each window."""
    return np.bincount(window, weights=np.asarray(values, np.float64)).astype(np.float64)


def _draw(random: np.random.Generator, n_windows: int, sums: list[Floats]) -> list[float]:
    """Both sums over as many windows as there are, drawn with replacement."""
    chosen = random.integers(n_windows, size=n_windows)
    return [float(values[chosen].sum()) for values in sums]


def _exponential(mean: Interval) -> Interval:
    """Of the mean's exponential."""
    assert mean.upper is not None, "means are bounded"
    return Interval(*(float(np.exp(value)) for value in (mean.value, mean.lower, mean.upper)))


def _root(mean: Interval) -> Interval:
    """Of the root of a mean of squares."""
    assert mean.upper is not None, "means are bounded"
    return Interval(*(max(0.0, value) ** 0.5 for value in (mean.value, mean.lower, mean.upper)))


def _perplexity(nll: Floats) -> tuple[float, float]:
    mean, error = _mean(nll)
    value = float(np.exp(mean))
    return value, value * error


def _mean(values: Floats) -> tuple[float, float]:
    """Mean and its standard error, 0 for a single value."""
    return float(values.mean()), float((values.var() / max(1, len(values) - 1)) ** 0.5)
