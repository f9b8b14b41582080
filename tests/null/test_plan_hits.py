"""Hit curves never fall and stay between nothing and everything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.planning.hits import PUBLISHED, HitCurve

POINTS = st.lists(st.tuples(st.floats(-1, 2), st.floats(-1, 2)), max_size=8)
SHARES = st.floats(-1, 2)


@given(POINTS, SHARES, SHARES)
def test_a_larger_cache_never_serves_less(
    points: list[tuple[float, float]], one: float, other: float
) -> None:
    curve = HitCurve.of(points, "generated")
    less, more = curve.at(min(one, other)), curve.at(max(one, other))
    assert 0.0 <= less <= more + 1e-12 <= 1.0 + 1e-12
    assert (curve.at(0.0), curve.at(1.0)) == (0.0, 1.0)


@given(st.dictionaries(st.floats(0.01, 0.99), st.floats(0, 1), min_size=1, max_size=6))
def test_measured_points_are_kept_where_they_rise(rates: dict[float, float]) -> None:
    points = tuple(zip(sorted(rates), sorted(rates.values()), strict=True))
    assert all(HitCurve.of(reversed(points), "generated").at(share) == rate for share, rate in points)


def test_between_two_points_it_is_a_line() -> None:
    assert HitCurve.of([(0.2, 0.4), (0.4, 0.8)], "two").at(0.3) == pytest.approx(0.6)
    assert HitCurve.of([], "none").at(0.25) == 0.25


def test_a_point_that_falls_is_lifted_to_the_one_before() -> None:
    assert HitCurve.of([(0.2, 0.5), (0.4, 0.3)], "noisy").at(0.4) == 0.5


def test_the_published_curve_is_below_a_quarter_hitting_80_percent() -> None:
    assert 0.5 <= PUBLISHED.at(0.25) < 0.8
    assert all(PUBLISHED.at(share) > share for share in (0.05, 0.1, 0.25, 0.5, 0.9))
