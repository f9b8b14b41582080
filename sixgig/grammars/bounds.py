"""What no text can be: bounds of a schema, a pattern or a grammar that exclude each other. Pure.

The engine does not look: it makes rules for the difference, which below zero has no end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

# Where a schema holds others: under names of its own, in a list, by itself. Everything else is data.
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTED = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_SINGLE = (
    *("items", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "additionalItems"),
    *("contains", "propertyNames", "not", "if", "then", "else"),
)
_PAIRS = (
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
    ("minimum", "maximum"),
    ("exclusiveMinimum", "exclusiveMaximum"),
)
_CLASS = r"\[(?:\\.|[^\]\\])*+\]?"
_COUNTS = r"\{\s*+(\d++)\s*+,\s*+(\d++)\s*+\}"
_IN_PATTERN = re.compile(rf"\\.|{_CLASS}|{_COUNTS}", re.DOTALL | re.ASCII)
_IN_GRAMMAR = re.compile(rf'"(?:\\.|[^"\\])*+"?|#[^\r\n]*+|{_CLASS}|{_COUNTS}', re.DOTALL | re.ASCII)
_TOKENS = re.compile(rf'"(?:\\.|[^"\\])*+"?|#[^\r\n]*+|{_CLASS}|(<[^\[>][^>]*+>?)', re.DOTALL)
_SHOWN = 60


def impossible_schema(schema: Any) -> str | None:
    """The first of a schema's bounds that nothing can keep, in words; None where there is none."""
    for place, node in _nodes(schema):
        for least, most in _PAIRS:
            low, high = _number(node.get(least)), _number(node.get(most))
            if low is not None and high is not None and low > high:
                return f"{least} {_shown(low)} is above {most} {_shown(high)} at {place}"
        pattern = node.get("pattern")
        if isinstance(pattern, str) and (counts := _reversed(_IN_PATTERN, pattern)):
            return f"the pattern at {place} repeats {counts}"
    return None


def impossible_grammar(grammar: str) -> str | None:
    """The same of a grammar in the engine's own notation (GBNF)."""
    counts = _reversed(_IN_GRAMMAR, grammar)
    return f"it repeats {counts}" if counts else None


def without_token_names(grammar: str) -> str:
    """Tokens by a number instead of a name, as they can be read without a vocabulary."""
    return _TOKENS.sub(lambda match: "<[0]>" if match[1] else match[0], grammar)


def _nodes(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema, with its place."""
    waiting = [("#", schema)]
    while waiting:
        place, node = waiting.pop()
        if not isinstance(node, dict):
            continue
        yield place[-_SHOWN:], node
        for name in _NAMED:
            if isinstance(node.get(name), dict):
                waiting += [(f"{place}/{name}/{key}"[-_SHOWN:], inner) for key, inner in node[name].items()]
        for name in _LISTED:
            if isinstance(node.get(name), list):
                waiting += [(f"{place}/{name}"[-_SHOWN:], inner) for inner in node[name]]
        waiting += [(f"{place}/{name}"[-_SHOWN:], node[name]) for name in _SINGLE if name in node]


def _reversed(counts: re.Pattern[str], text: str) -> str | None:
    """A {n,m} with n above m, as written."""
    for match in counts.finditer(text):
        if match[1] is not None and _count(match[1]) > _count(match[2]):
            return f"{{{_shown(match[1])},{_shown(match[2])}}}"
    return None


def _count(digits: str) -> tuple[int, str]:
    """In the order of numbers, whatever their length."""
    bare = digits.lstrip("0")
    return len(bare), bare


def _number(value: Any) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 20 else text[:20] + "..."
