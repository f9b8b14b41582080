"""Bytes, seconds and counts as people write and read them, and in what two settings differ."""

import math
import re
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from sixgig.errors import UsageError

_BINARY = "BKMGTP"
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(?:([KMGT])(I?B)?|B)?", re.ASCII)
_MAX_BYTES = 2**63 - 1
_LEAST_MEMORY = 10**6
_SHOWN, _BEFORE = 60, 20  # characters of a value that differs, of these before the difference
_CURE = "write a size such as 6G, 512M or 1.5GiB"


def parse_size(text: str) -> int:
    """Bytes in `text`, rounded down: "6G" and "6GiB" are 6 * 1024**3, "6GB" is 6 * 1000**3, "6" is 6.

    Raises UsageError for anything else, for nothing at all, and for 2**63 or more.
    """
    match = _SIZE.fullmatch(text.strip().upper())
    if match is None:
        raise UsageError(f"{text[:40]!r} is not a size", cure=_CURE)
    digits, prefix, suffix = match.groups()
    base = 1000 if suffix == "B" else 1024
    size_bytes = _scale(digits, base, _BINARY.index(prefix or "B"))
    if size_bytes > _MAX_BYTES:
        raise UsageError(f"{text[:40]!r} is larger than any memory", f"at most {_MAX_BYTES} bytes", _CURE)
    return size_bytes


def parse_memory(text: str) -> int:
    """As parse_size, of a budget. Raises UsageError too for less than a megabyte, which "8" for "8G" is."""
    size_bytes = parse_size(text)
    if size_bytes < _LEAST_MEMORY:
        raise UsageError(f"{text[:40]!r} of memory is too little", f"{size_bytes} bytes", _CURE)
    return size_bytes


def _scale(digits: str, base: int, power: int) -> int:
    """`digits` times base**power, rounded down, in exact integer arithmetic (32 digits either side kept)."""
    whole, _, fraction = digits.partition(".")
    whole, fraction = whole.lstrip("0")[:32], fraction[:32]
    size_bytes: int = int(whole + fraction or "0") * base**power // 10 ** len(fraction)
    return size_bytes


def format_bytes(size_bytes: float) -> str:
    """Binary units with two decimals, "1.23 GiB"; whole bytes below 1 KiB."""
    if abs(size_bytes) < 1024:
        return f"{size_bytes:.0f} B"
    value = float(size_bytes)
    for prefix in _BINARY[1:]:
        value /= 1024
        if abs(value) < 1023.995 or prefix == _BINARY[-1]:
            break
    return f"{value:.2f} {prefix}iB"


def format_number(value: float) -> str:
    """A number that someone typed, in a length that a line bears, whatever its size."""
    digits = str(value)
    return digits if len(digits) <= 40 else f"{digits[:12]}... ({len(digits)} digits)"


def counted(count: int, noun: str) -> str:
    """ "1 step", "2 steps"; of nouns that add an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def first_difference(then: Mapping[str, Any], now: Mapping[str, Any], asked: str = "now") -> str:
    """The innermost field that differs first, "steps: 40 there, 41 now"; "" where none does.

    Of long values the part where they differ is shown.
    """
    for key in {**now, **then}:
        old, new = then.get(key), now.get(key)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            return first_difference(old, new, asked)
        texts = str(old), str(new)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*texts, strict=False)))
        start = same - _BEFORE if same + _BEFORE > _SHOWN else 0
        shown = (("..." if start else "") + text[start : start + _SHOWN] for text in texts)
        return f"{key}: {next(shown)} there, {next(shown)} {asked}"
    return ""


def format_rate(bytes_per_s: float) -> str:
    """A bandwidth, "1.08 GiB/s"; "unknown" when it is not a finite number."""
    return f"{format_bytes(bytes_per_s)}/s" if math.isfinite(bytes_per_s) else "unknown"


def format_seconds(seconds: float) -> str:
    """A duration in the unit that suits it: "12 µs", "3.4 ms", "5.21 s", "3 min 20 s", "2 h 05 min"."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 0:
        return "-" + format_seconds(-seconds)
    return _short(seconds) if seconds < 59.995 else _long(round(seconds))


def _short(seconds: float) -> str:
    if seconds == 0 or seconds >= 0.9995:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 0.9995e-3 else f"{seconds * 1e6:.0f} µs"


def _long(seconds: int) -> str:
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
