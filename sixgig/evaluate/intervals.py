"""How far a figure can be trusted: 95% intervals from one value per token and the window each is of.

Tokens of one window depend on each other, so windows are what is drawn: the error of a mean is that of
cluster sampling with Student's t for as many windows as there are. It is never less than that of independent
tokens, which is all there is where one window was scored. Shares get Wilson's interval, quantiles Woodruff's
(the quantiles at the bounds of the share below).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from sixgig.evaluate.log_probabilities import Floats
from sixgig.units import counted

TOKENS_WANTED, WINDOWS_WANTED = 3000, 8  # fewer, and a divergence is known to a fifth or worse
_Z = 1.959964
_STUDENT = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
Windows = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A value with the bounds of its 95% interval. upper: None where too few tokens bound it from above."""

    value: float
    lower: float
    upper: float | None

    @property
    def half(self) -> float | None:
        """Half its width; None where that is not known."""
        return None if self.upper is None else (self.upper - self.lower) / 2

    def to_json(self) -> list[float | None]:
        """[lower, upper]."""
        return [self.lower, self.upper]


def of_mean(values: Floats, windows: Windows) -> Interval:
    """The mean of one value per token."""
    mean, half = float(values.mean()), _half(values, windows)
    return Interval(mean, mean - half, mean + half)


def of_share(hits: NDArray[np.bool_], windows: Windows) -> Interval:
    """The share of tokens that are hits, within 0 and 1."""
    lower, upper = _share_bounds(hits, windows)
    return Interval(float(hits.mean()), lower, upper)


def of_quantile(values: Floats, windows: Windows, share: float) -> Interval:
    """What `share` of the tokens' values stay below; no bound above where that would be past the largest."""
    value = float(np.quantile(values, share))
    lower, upper = _share_bounds(values <= value, windows)
    ordered, n_tokens = np.sort(values), len(values)
    below, above = max(0, int(lower * n_tokens) - 1), ceil(upper * n_tokens)
    return Interval(value, float(ordered[below]), float(ordered[above]) if above < n_tokens else None)


def student(n_free: int) -> float:
    """The 97.5% quantile of Student's t, to three digits; that of the normal where nothing is known."""
    if n_free < 1:
        return _Z
    if n_free <= len(_STUDENT):
        return _STUDENT[n_free - 1]
    square, free = _Z * _Z, float(n_free)
    first, second = (square + 1) / 4, ((5 * square + 16) * square + 3) / 96
    third = (((3 * square + 19) * square + 17) * square - 15) / 384
    return _Z * (1 + first / free + second / free**2 + third / free**3)


def few_tokens(what: str, n_tokens: int, n_windows: int) -> str:
    """A warning where `what` was scored on few tokens, "" where on enough."""
    if n_tokens >= TOKENS_WANTED and n_windows >= WINDOWS_WANTED:
        return ""
    return (
        f"warning: {what} on {n_tokens} tokens in {counted(n_windows, 'window')}, too few to rely on: "
        f"{TOKENS_WANTED} tokens in {WINDOWS_WANTED} windows are wanted"
    )


def _half(values: Floats, windows: Windows) -> float:
    """Half the width of a mean's interval."""
    n_tokens = len(values)
    independent = float(values.std() / np.sqrt(max(1, n_tokens - 1)))
    sums = np.bincount(windows, weights=values - values.mean())[np.bincount(windows) > 0]
    n_windows = len(sums)
    if n_windows < 2:
        return _Z * independent
    clustered = float(np.sqrt(n_windows / (n_windows - 1) * np.square(sums).sum()) / n_tokens)
    return max(_Z * independent, student(n_windows - 1) * clustered)


def _share_bounds(hits: NDArray[np.bool_], windows: Windows) -> tuple[float, float]:
    """Wilson's, of as many independent tokens as would give the mean's interval."""
    share, n_tokens = float(hits.mean()), len(hits)
    error = float(np.sqrt(share * (1 - share) / n_tokens))
    n = n_tokens / max(1.0, (_half(hits.astype(np.float64), windows) / (_Z * error)) ** 2 if error else 1.0)
    middle, scale = share + _Z**2 / (2 * n), 1 + _Z**2 / n
    half = _Z * float(np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)))
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
