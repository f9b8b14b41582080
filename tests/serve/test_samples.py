"""Rates and history of what only grows, under late ticks, corrected counts and a clock that is set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.gateway.samples import Samples

EPOCH_S = 1_790_000_000.0


def ticking(totals: list[float], step_s: float = 1.0) -> Samples:
    samples = Samples()
    for second, total in enumerate(totals):
        samples.take(second * step_s, total)
    return samples


def test_a_steady_flow_has_its_rate() -> None:
    assert ticking([7.0 * second for second in range(30)]).rate(29.0) == pytest.approx(7)


def test_the_rate_is_of_the_last_five_seconds_only() -> None:
    samples = ticking([0, 1000, 1000, 1000, 1000, 1000, 1000, 1010])
    assert samples.rate(7.0) == pytest.approx(2)


def test_a_rate_fades_while_no_sample_is_taken() -> None:
    samples = ticking([0, 10, 20, 30, 40, 50])
    assert samples.rate(5.0) == pytest.approx(10)
    assert 0 < samples.rate(8.0) < samples.rate(6.0) < 10


def test_nothing_was_added_before_the_second_sample() -> None:
    assert Samples().rate(3.0) == 0
    assert ticking([5000]).rate(0.0) == 0 and ticking([5000]).rate(9.0) == 0


def test_late_ticks_spoil_no_rate() -> None:
    assert ticking([0, 30, 60, 90], step_s=3.0).rate(9.0) == pytest.approx(10)


def test_a_total_that_was_corrected_adds_nothing_and_is_no_burst() -> None:
    assert ticking([1000, 1010, 1008, 1009]).rate(3.0) == pytest.approx(10 / 3)
    assert ticking([1000, 1010, 1008, 1020]).rate(3.0) == pytest.approx(20 / 3)


def test_the_history_ends_with_the_live_figure_and_holds_two_minutes() -> None:
    samples = ticking([second**1.5 for second in range(300)])
    history = samples.history(299.0, EPOCH_S)
    assert all(len(column) == 120 for column in history.values())
    assert history["tokens_per_s"][-1] == samples.rate(299.0)
    assert history["t"] == [EPOCH_S - 119 + second for second in range(120)]


def test_absent_values_stay_absent() -> None:
    samples = Samples()
    samples.take(0.0, 0, hit_rate=None, watts=12.5)
    samples.take(1.0, 3, hit_rate=0.0, watts=None)
    history = samples.history(1.0, EPOCH_S)
    assert history["hit_rate"] == [None, 0.0] and history["watts"] == [12.5, None]


def test_a_clock_that_was_set_moves_the_whole_history() -> None:
    samples = ticking([0, 1, 2])
    before, after = samples.history(2.0, EPOCH_S)["t"], samples.history(2.0, EPOCH_S - 3600)["t"]
    assert [one - other for one, other in zip(before, after, strict=True) if one and other] == [3600] * 3


@given(st.lists(st.tuples(st.floats(0.01, 30), st.integers(0, 10**9)), min_size=2, max_size=150))
def test_no_rate_is_negative_or_above_the_fastest_step(steps: list[tuple[float, int]]) -> None:
    samples, now_s, total, fastest = Samples(), 0.0, 0, 0.0
    samples.take(now_s, total)
    for seconds, added in steps:
        before_s, now_s, total = now_s, now_s + seconds, total + added
        samples.take(now_s, total)
        fastest = max(fastest, added / (now_s - before_s))
        assert 0 <= samples.rate(now_s) <= fastest * (1 + 1e-6)
