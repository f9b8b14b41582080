"""What of a JSON schema the engine cannot hold an answer to, and passes over in silence.

It has two converters. Chats' and tools' schemas become a grammar of its own (common/json-schema.h of
llama.cpp), to which a keyword that it does not know is absent: `unheld`. A text's json_schema goes to
llguidance, and with one keyword that is not known there, the whole schema is absent: `undoing`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

_ONE = ("additionalProperties", "items")
_MANY = ("oneOf", "anyOf", "allOf", "prefixItems")
_NAMED = ("properties", "$defs", "definitions")
_HELD = {
    "$ref", "type", "const", "enum", "required", "minItems", "maxItems", "minLength", "maxLength", "minimum",
    "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "format",
}  # fmt: skip
_REMARKS = {
    "title", "description", "default", "examples", "example", "$schema", "$id", "$comment", "$anchor",
    "deprecated", "readOnly", "writeOnly", "strict", "contentEncoding", "contentMediaType",
    "markdownDescription",
}  # fmt: skip
_FORMATS = re.compile(r"date|time|date-time|uuid[1-5]?")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
# Anchored at both ends; groups without names or looks around; of escapes those that stand for one character.
# A quote or a backslash would stand in the answer as it is, which is then no JSON.
_CLASS_ESCAPE = r"""\\(?:[trn\\"\[\]-]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8})"""
_ESCAPE = r"\\(?:[trn\[\]\-^$.()|{}*+?]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8})"
_PATTERN = re.compile(
    rf"\^(?:\[(?:{_CLASS_ESCAPE}|[^\]\\])*\]|\(\?:|\((?!\?)|{_ESCAPE}|[^\\\[(^$\"])*\$", re.DOTALL
)
_UNDOING = {
    "uniqueItems", "not", "if", "then", "else", "contains", "minContains", "maxContains", "propertyNames",
    "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties", "unevaluatedItems",
    "$dynamicRef",
}  # fmt: skip
_TEXT_FORMATS = re.compile(r"date-time|time|date|duration|email|hostname|ipv4|ipv6|uuid")
# No looks around, no words' ends, nothing that was found before, and anchors at the ends alone.
_TEXT_PATTERN = re.compile(
    r"\^?(?:\[(?:\\.|[^\]\\])*\]|\((?!\?(?:[=!]|<[=!]))|\\[^bB1-9]|[^\\\[(^$])*\$?", re.DOTALL
)
_MOST_NODES = 20_000
# What a body may hold any of; none, and there is nothing to look for.
MARKS = re.compile(
    rb'"(?:pattern|format|not|if|uniqueItems|multipleOf|patternProperties|propertyNames|minProperties'
    rb"|maxProperties|contains|minContains|maxContains|dependent[A-Za-z]+|dependencies|unevaluated[A-Za-z]+"
    rb'|nullable|minimum|maximum|exclusiveMinimum|exclusiveMaximum)"'
)


def unheld(schema: Any) -> list[str]:
    """Keywords of a chat's or a tool's schema that an answer may break; of its first 20,000 nodes."""
    return _found(schema, _unheld_here)


def undoing(schema: Any) -> list[str]:
    """Keywords of a text's schema for which all of it is passed over; of its first 20,000 nodes."""
    return _found(schema, _undoing_here)


def _found(schema: Any, here: Callable[[dict[str, Any]], Iterator[str]]) -> list[str]:
    found: dict[str, None] = {}
    rest, seen = [schema], 0
    while rest and seen < _MOST_NODES:
        node, seen = rest.pop(), seen + 1
        if isinstance(node, dict):
            found |= dict.fromkeys(here(node))
            rest += _below(node)
    return list(found)


def _undoing_here(node: dict[str, Any]) -> Iterator[str]:
    yield from _UNDOING & node.keys()
    for name, known in (("format", _TEXT_FORMATS), ("pattern", _TEXT_PATTERN)):
        value = node.get(name)
        if isinstance(value, str) and node.get("type") == "string" and not known.fullmatch(value):
            yield name


def _unheld_here(node: dict[str, Any]) -> Iterator[str]:
    for name, value in node.items():
        if name in _ONE or name in _MANY or name in _NAMED or name in _REMARKS:
            continue
        if name not in _HELD or not _holds(node, name, value):
            yield name


def _holds(node: dict[str, Any], name: str, value: Any) -> bool:
    if name == "pattern":
        return not isinstance(value, str) or _PATTERN.fullmatch(value) is not None
    if name == "format":
        return node.get("type") != "string" or (
            isinstance(value, str) and _FORMATS.fullmatch(value) is not None
        )
    if name in ("minLength", "maxLength"):
        return "pattern" not in node
    return name not in _BOUNDS or node.get("type") != "number"


def _below(node: dict[str, Any]) -> list[Any]:
    below = [node[name] for name in _ONE if name in node]
    for name in _MANY:
        below += node[name] if isinstance(node.get(name), list) else ()
    for name in _NAMED:
        below += node[name].values() if isinstance(node.get(name), dict) else ()
    return [*below, *(node["items"] if isinstance(node.get("items"), list) else ())]
