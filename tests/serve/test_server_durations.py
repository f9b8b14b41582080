"""Durations as owners and Go's clients write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import UsageError
from sixgig.settings.durations import FOREVER, parse_duration


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h30m5.5s", 5405.5),
        ("300ms", 0.3),
        ("10us", 1e-5),
        ("10µs", 1e-5),
        ("10μs", 1e-5),
        ("10ns", 1e-8),
        (".5h", 1800),
        ("1.s", 1),
        ("+5m", 300),
        (" 5m ", 300),
        ("300", 300),
        ("0", 0),
        ("-0s", 0),
        (0, 0),
        (300, 300),
        (0.25, 0.25),
        ("forever", FOREVER),
        ("Forever", FOREVER),
        ("-1", FOREVER),
        ("-1m", FOREVER),
        (-1, FOREVER),
        (-0.5, FOREVER),
        (-(10**400), FOREVER),
        (-math.inf, FOREVER),
    ],
)
def test_a_duration_is_read_as_it_is_written(value: str | float, seconds: float) -> None:
    assert parse_duration(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            " ",
            "5x",
            "m",
            "5 m",
            "5m 3s",
            "1e3",
            "0x10",
            "5M",
            "5d",
            "--5m",
            "inf",
            "nan",
            "\uff11s",
            "1h-5m",
        ),
        *("9" * 20 + "h", "1" * 5000, "1" * 5000 + "s"),
        *(math.inf, math.nan, 10**400, 1e10, True, False),
    ],
)
def test_what_is_no_duration_is_refused_by_name(value: str | float) -> None:
    with pytest.raises(UsageError, match="is not a duration; write a duration such as"):
        parse_duration(value)


@given(st.text(max_size=20) | st.floats() | st.integers())
def test_a_duration_is_finite_whatever_is_written(value: str | float) -> None:
    try:
        seconds = parse_duration(value)
    except UsageError:
        return
    assert seconds == FOREVER or 0 <= seconds <= 1e9
