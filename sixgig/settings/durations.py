"""How long: as owners write it, and as Go's clients send it."""

from __future__ import annotations

import math
import re

from sixgig.errors import UsageError

FOREVER = -1.0
_LONGEST_S, _LONGEST_TEXT = 1e9, 200
_SECONDS_OF = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_AMOUNT = r"((?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20}))"
_PART = re.compile(_AMOUNT + "(" + "|".join(_SECONDS_OF) + ")")
_WHOLE = re.compile(rf"([+-]?)((?:{_PART.pattern})+|{_AMOUNT})")
_CURE = 'write a duration such as "30s", "5m", "1h30m", a number of seconds, or "forever"'


def parse_duration(value: str | int | float) -> float:
    """Seconds: "5m" is 300, "1h30m" is 5400, 30 and "30" are 30; FOREVER for "forever" and all below zero.

    Raises UsageError for anything else, and above a thousand million seconds.
    """
    seconds = _seconds(value) if isinstance(value, str) else _number(value)
    if seconds is None or not seconds <= _LONGEST_S:
        raise UsageError(f"{str(value)[:40]!a} is not a duration", cure=_CURE)
    return FOREVER if seconds < 0 else seconds


def _number(value: int | float) -> float | None:
    """None for a truth value; an int beyond every float is beyond every duration, too."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _seconds(text: str) -> float | None:
    text = text.strip()
    if text.casefold() == "forever":
        return FOREVER
    match = _WHOLE.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
    if match is None:
        return None
    parts = _PART.findall(match[2])
    seconds = sum(float(amount) * _SECONDS_OF[unit] for amount, unit in parts) if parts else float(match[2])
    return -seconds if match[1] == "-" else seconds
