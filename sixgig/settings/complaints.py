"""What is wrong with a configuration, told in its own words: section, field, fault, what stands there."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

_MOST = 20
_SECRET_SECTIONS = ("keys", "upstreams")  # an owner may have put the key itself where its name belongs
_SECRET_STARTS = ("sg-", "sk-", "hf_")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_WORDS = {
    "missing": "is missing",
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "decimal_max_places": "must have at most {decimal_places} decimal places",
}
_SHOWN = {  # faults whose words do not say already what stands there
    name for name, words in _WORDS.items() if name not in ("missing", "too_short", "string_too_long")
}
Names = Mapping[str, Sequence[str]]


def complaints(error: ValidationError, document: Any, names: Names) -> list[str]:
    """One clause a wrong field, "[server] port: must be at most 65535, found 99999", the first twenty.

    names: the fields of each section, those of the whole under "". Never shows what stands in a field nobody
    knows, among the keys or among the upstreams.
    """
    found = list(dict.fromkeys(_clauses(error, document, names)))
    more = [f"and {len(found) - _MOST} more"] if len(found) > _MOST else []
    return found[:_MOST] + more


def _clauses(error: ValidationError, document: Any, names: Names) -> Iterator[str]:
    seen = set()
    for fault in error.errors(include_url=False):
        steps = _steps(fault["loc"], document, absent=fault["type"] == "missing")
        place = _place(steps)
        if steps and place in seen:  # a value that could be of two types is faulty once
            continue
        seen.add(place)
        for words in _fault(fault, steps, names).split("\n"):
            yield f"{place}: {words}" if place else words


def _steps(location: Sequence[int | str], document: Any, absent: bool) -> list[int | str]:
    """The way to the field through the document; pydantic's own has members of unions, too."""
    steps: list[int | str] = []
    for step in location:
        if _has(document, step):
            document = document[step]
        elif not (absent and step == location[-1]):
            continue
        steps.append(step)
    return steps


def _has(document: Any, step: int | str) -> bool:
    if isinstance(document, list):
        return isinstance(step, int) and step < len(document)
    return isinstance(document, dict) and step in document


def _place(steps: Sequence[int | str]) -> str:
    """As "[models.x] path" or "keys[0].name", the first of a list being 0."""
    texts = [step if isinstance(step, int) else _toml_name(step) for step in steps]
    tables = texts[:2] if texts[:1] == ["models"] else texts[:1]
    listed = len(texts) > 1 and isinstance(texts[1], int)
    if listed or not texts:
        return _dotted(texts)
    return f"[{_dotted(tables)}] {_dotted(texts[len(tables) :])}".rstrip()


def _dotted(texts: Sequence[int | str]) -> str:
    return "".join(f"[{text}]" if isinstance(text, int) else f".{text}" for text in texts).removeprefix(".")


def _toml_name(step: str) -> str:
    """Bare where TOML allows that, else quoted, and never long."""
    return step if len(step) <= 40 and _BARE.fullmatch(step) else ascii(step[:40])


def _fault(fault: Any, steps: Sequence[int | str], names: Names) -> str:
    kind, context = fault["type"], {name: _whole(limit) for name, limit in fault.get("ctx", {}).items()}
    if kind == "extra_forbidden":
        return _unknown(steps, names)
    if kind == "value_error":
        return str(context["error"])
    words = _WORDS[kind].format_map(context) if kind in _WORDS else _plain(fault["msg"])
    return words + (_found(fault["input"], steps) if kind in _SHOWN else "")


def _whole(limit: Any) -> Any:
    """A field of floats has its limits as floats."""
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _unknown(steps: Sequence[int | str], names: Names) -> str:
    known = names.get(str(steps[0]) if len(steps) > 1 else "", ())
    close = get_close_matches(str(steps[-1])[:40], known, n=1)
    return f"is unknown; did you mean {close[0]}?" if close else f"is unknown; known: {', '.join(known)}"


def _plain(message: str) -> str:
    """The words of pydantic for a fault that none of today's fields can have."""
    return re.sub(r"^.*?\bshould\b", "must", message)


def _found(value: Any, steps: Sequence[int | str]) -> str:
    if steps[:1] and steps[0] in _SECRET_SECTIONS:
        return ""
    if isinstance(value, str):
        return "" if value.startswith(_SECRET_STARTS) else f", found {_cut(ascii(value))}"
    if isinstance(value, bool):
        return f", found {str(value).lower()}"
    if isinstance(value, int | float):
        return f", found {value:g}" if isinstance(value, float) or abs(value) < 1e15 else ""
    if isinstance(value, datetime.date | datetime.time):
        return f", found {value.isoformat()}"
    return f", found a {'table' if isinstance(value, dict) else 'list'}"


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
