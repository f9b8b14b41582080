"""Intervals hold what they promise where tokens of a window depend on each other, and with few windows."""

import numpy as np
import pytest

from sixgig.evaluate import few_tokens
from sixgig.evaluate.divergence import TokenFigures
from sixgig.evaluate.intervals import (
    TOKENS_WANTED,
    WINDOWS_WANTED,
    of_mean,
    of_quantile,
    of_share,
    student,
)
from sixgig.evaluate.score import Score

PER_WINDOW = 60


def drawn(seed: int, n_windows: int, common: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Values of mean 1, as skewed as divergences are; a window's share a factor."""
    random = np.random.default_rng(seed)
    windows = np.repeat(np.arange(n_windows), PER_WINDOW)
    values = random.gamma(0.5, 2.0, n_windows * PER_WINDOW)
    return values * random.lognormal(-(common**2) / 2, common, n_windows)[windows], windows


def share_of_hits(n_windows: int, common: float, truth: float, interval) -> float:
    found = [interval(*drawn(seed, n_windows, common)) for seed in range(300)]
    return float(np.mean([one.lower <= truth and (one.upper is None or truth <= one.upper) for one in found]))


@pytest.mark.parametrize(("n_windows", "common"), [(2, 0.3), (4, 0.5), (12, 0.0), (12, 0.5), (40, 0.3)])
def test_the_mean_lies_within_its_interval_as_often_as_said(n_windows: int, common: float) -> None:
    assert share_of_hits(n_windows, common, 1.0, of_mean) >= 0.92


def test_the_error_of_independent_tokens_would_hold_far_less_than_it_says() -> None:
    """Why windows are what is drawn."""

    def naive(values: np.ndarray, windows: np.ndarray):
        return of_mean(values, np.zeros_like(windows))

    assert share_of_hits(12, 0.5, 1.0, naive) < 0.8


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_quantile_lies_within_its_interval_as_often_as_said(share: float) -> None:
    many = np.concatenate([drawn(10_000 + seed, 40)[0] for seed in range(400)])
    truth = float(np.quantile(many, share))
    assert share_of_hits(12, 0.3, truth, lambda values, windows: of_quantile(values, windows, share)) >= 0.92


def test_a_share_lies_within_its_interval_as_often_as_said() -> None:
    truth = float(np.mean(np.concatenate([drawn(10_000 + seed, 40)[0] for seed in range(400)]) < 3))
    assert share_of_hits(12, 0.3, truth, lambda values, windows: of_share(values < 3, windows)) >= 0.92


def test_what_510_tokens_do_not_tell_is_not_told() -> None:
    """The largest divergence of one in a thousand: two windows hold too few to bound it."""
    random = np.random.default_rng(0)
    values, windows = random.gamma(0.5, 2.0, 510), np.repeat([0, 1], 255)
    found = of_quantile(values, windows, 0.999)
    assert found.upper is None and found.half is None and found.lower <= found.value
    assert of_quantile(values, windows, 0.5).upper is not None


def test_where_every_token_agreed_the_next_need_not() -> None:
    found = of_share(np.ones(510, bool), np.repeat([0, 1], 255))
    assert found.value == found.upper == 1 and found.lower == pytest.approx(510 / (510 + 1.96**2), abs=1e-4)


def test_one_window_has_the_error_of_independent_tokens() -> None:
    values, windows = drawn(0, 1)
    half = of_mean(values, windows).half
    assert half == pytest.approx(1.96 * values.std() / (len(values) - 1) ** 0.5, rel=1e-4)


def test_an_interval_is_never_narrower_than_that_of_independent_tokens() -> None:
    """Two windows that happen to have equal means say nothing."""
    values = np.tile(drawn(0, 1)[0], 2)
    one, two = of_mean(values, np.zeros(len(values), int)), of_mean(values, np.repeat([0, 1], PER_WINDOW))
    assert two.half == one.half


@pytest.mark.parametrize(("free", "known"), [(0, 1.96), (1, 12.706), (5, 2.571), (11, 2.201), (30, 2.042)])
def test_student_is_that_of_the_tables(free: int, known: float) -> None:
    assert student(free) == pytest.approx(known, abs=0.001)


def test_every_figure_of_a_score_has_its_interval() -> None:
    random = np.random.default_rng(1)
    nll, change = random.gamma(2.0, 1.0, (2, 400))
    figures = TokenFigures(nll, nll + 0.1, random.gamma(0.5, 0.1, 400), change / 50, nll < 3)
    score = Score.of(figures, np.repeat(np.arange(8), 50))
    document = score.to_json()
    bare = ("kld_max", "n_tokens", "n_windows", "n_tokens_wanted", "intervals")
    figures_named = {name for name in document if name not in bare and not name.endswith("_error")}
    assert set(document["intervals"]) == figures_named
    for name, (lower, upper) in document["intervals"].items():
        assert lower <= document[name] and (upper is None or document[name] <= upper)
        assert score.intervals[name].value == pytest.approx(document[name])
    alone = Score.of(TokenFigures(nll, *([np.empty(0)] * 4)), np.repeat(np.arange(8), 50))
    assert set(alone.to_json()["intervals"]) == {"perplexity"}


@pytest.mark.parametrize(
    ("n_tokens", "n_windows", "warned"),
    [(510, 2, True), (TOKENS_WANTED, WINDOWS_WANTED, False), (TOKENS_WANTED - 1, 20, True), (9000, 1, True)],
)
def test_few_tokens_are_a_warning_with_the_number_wanted(n_tokens: int, n_windows: int, warned: bool) -> None:
    words = few_tokens("scored", n_tokens, n_windows)
    assert bool(words) == warned
    if warned:
        assert "too few to rely on" in words and "in 1 windows" not in words
        assert all(str(n) in words for n in (n_tokens, n_windows, TOKENS_WANTED, WINDOWS_WANTED))
