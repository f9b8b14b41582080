"""Sizes survive being written and read; nonsense is refused by name."""

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sixgig.errors import UsageError
from sixgig.units import counted, format_bytes, format_rate, format_seconds, parse_memory, parse_size

POWERS = {
    "": 1,
    "B": 1,
    "K": 1024,
    "MiB": 1024**2,
    "G": 1024**3,
    "TiB": 1024**4,
    "KB": 1000,
    "MB": 10**6,
    "GB": 10**9,
}


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("6G", 6 * 1024**3),
        ("512M", 512 * 1024**2),
        ("1.5GiB", 3 * 1024**3 // 2),
        ("1.5 gib", 3 * 1024**3 // 2),
        ("6GB", 6_000_000_000),
        ("4096", 4096),
        ("10B", 10),
        (".5K", 512),
        ("0", 0),
        (" 2T ", 2 * 1024**4),
        ("0.1K", 102),
    ],
)
def test_examples(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "G",
        "-1G",
        "+1G",
        "1e9",
        "nan",
        "inf",
        "0x10",
        "6 G B",
        "6GG",
        "6Q",
        "1,5G",
        "1.2.3",
        "٣G",
        "6iB",
        "1_000",
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["8388608T", "9" * 40, "9" * 30 + ".5G"])
def test_too_large_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="larger than any memory"):
        parse_size(text)


@given(st.integers(0, 10**6), st.integers(0, 999), st.sampled_from(sorted(POWERS)))
def test_is_exact_and_rounds_down(whole: int, thousandths: int, unit: str) -> None:
    exact = (whole + Fraction(thousandths, 1000)) * POWERS[unit]
    assert parse_size(f"{whole}.{thousandths:03d}{unit}") == math.floor(exact)


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        assert parse_size(text) >= 0
    except UsageError as error:
        assert "\n" not in str(error) or "\n" in text


@given(st.integers(0, 2**62))
@example(1111)  # "1.08 KiB", half a hundredth too little, and then rounded down
def test_written_size_reads_back_within_half_a_percent(size_bytes: int) -> None:
    """And the byte that reading rounds down by."""
    text = format_bytes(size_bytes)
    back = parse_size(text.replace("PiB", "KiB")) * (1024**4 if "PiB" in text else 1)
    assert abs(back - size_bytes) <= max(0.005 * size_bytes, 1) + 1


def test_formats() -> None:
    assert [format_bytes(size) for size in (0, 1023, 1024, 1024**3 * 5 // 4, 1024**2 - 1)] == [
        "0 B",
        "1023 B",
        "1.00 KiB",
        "1.25 GiB",
        "1.00 MiB",
    ]
    assert format_rate(1.08 * 1024**3) == "1.08 GiB/s"
    assert format_rate(math.inf) == "unknown"
    assert [format_seconds(value) for value in (3e-6, 0.0034, 5.21, 59.999, 200, 7500, math.nan, -2)] == [
        "3 µs",
        "3.4 ms",
        "5.21 s",
        "1 min 00 s",
        "3 min 20 s",
        "2 h 05 min",
        "unknown",
        "-2.00 s",
    ]


@given(st.floats(1e-6, 1e7))
def test_seconds_never_show_sixty(seconds: float) -> None:
    words = format_seconds(seconds).split()
    sexagesimal = words[2:3] if "h" in words else words[0:3:2]
    assert "60" not in sexagesimal or words[1] in ("ms", "µs")


def test_a_budget_whose_unit_was_forgotten_is_refused_with_what_it_means() -> None:
    with pytest.raises(UsageError, match="'8' of memory is too little; 8 bytes; write a size such as 6G"):
        parse_memory("8")
    assert parse_memory("1M") == 1 << 20


def test_one_of_a_kind_is_no_plural() -> None:
    assert [counted(count, "step") for count in (0, 1, 2)] == ["0 steps", "1 step", "2 steps"]
