"""Bodies that should end a server, seeded: schemas, grammars and tools changed, sizes, nestings, encodings.

Each is one request of one of the APIs. Pure.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]
STRING = {"type": "string"}


@dataclass(frozen=True)
class HostileBody:
    """name: what is wrong with it."""

    name: str
    path: str
    body: bytes


def hostile_bodies(n: int, seed: int, model: str) -> Iterator[HostileBody]:
    """N of them: the kinds in turn, each drawn anew, around the APIs and their fields."""
    chance = random.Random(seed)
    while True:
        kinds = [*_SCHEMAS, *_GRAMMARS, *_RAW]
        chance.shuffle(kinds)
        for kind in kinds:
            if n == 0:
                return
            n -= 1
            if kind in _SCHEMAS:
                path, fields = _with_schema(chance, _SCHEMAS[kind](chance))
            elif kind in _GRAMMARS:
                path, fields = _plain(chance, grammar=_GRAMMARS[kind](chance))
            else:
                yield HostileBody(kind, *_RAW[kind](chance, model))
                continue
            yield HostileBody(kind, path, json.dumps({"model": model, "stream": False, **fields}).encode())


def _chat(**fields: Any) -> tuple[str, Schema]:
    return "/v1/chat/completions", {
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 40,
        **fields,
    }


def _plain(chance: random.Random, **fields: Any) -> tuple[str, Schema]:
    if chance.random() < 0.5:
        return _chat(**fields)
    return "/v1/completions", {"prompt": "hi", "max_tokens": 40, **fields}


def _with_schema(chance: random.Random, schema: Schema) -> tuple[str, Schema]:
    """Where each API takes one."""
    tool = {"name": "f", "description": "d", "parameters": schema}
    messages = [{"role": "user", "content": "hi"}]
    places: list[Callable[[], tuple[str, Schema]]] = [
        lambda: _plain(chance, json_schema=schema),
        lambda: _chat(
            response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        ),
        lambda: _chat(response_format={"type": "json_object", "schema": schema}),
        lambda: _chat(tools=[{"type": "function", "function": tool}]),
        lambda: _chat(tools=[{"type": "function", "function": tool}], tool_choice="required"),
        lambda: (
            "/v1/responses",
            {"input": "hi", "max_output_tokens": 40, "tools": [{"type": "function", **tool}]},
        ),
        lambda: (
            "/v1/messages",
            {"messages": messages, "max_tokens": 40, "tools": [{"name": "f", "input_schema": schema}]},
        ),
        lambda: ("/api/chat", {"messages": messages, "options": {"num_predict": 40}, "format": schema}),
        lambda: (
            "/api/chat",
            {
                "messages": messages,
                "options": {"num_predict": 40},
                "tools": [{"type": "function", "function": tool}],
            },
        ),
        lambda: (
            "/api/generate",
            {"prompt": "hi", "raw": True, "options": {"num_predict": 40}, "format": schema},
        ),
    ]
    return chance.choice(places)()


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)[:1]}


def _nested(depth: int, around: Callable[[Schema], Schema]) -> Schema:
    schema: Schema = STRING
    for _ in range(depth):
        schema = around(schema)
    return schema


def _recursive(inner: Schema) -> Schema:
    return {"$defs": {"S": inner}, "$ref": "#/$defs/S"}


_SELF = {"$ref": "#/$defs/S"}
_SCHEMAS: dict[str, Callable[[random.Random], Schema]] = {
    "lengths exchanged": lambda r: _object(a={**STRING, "minLength": r.randint(3, 99), "maxLength": r.randint(0, 2)}),
    "items exchanged": lambda r: {"type": "array", "items": STRING, "minItems": r.randint(3, 9), "maxItems": 1},
    "a range exchanged": lambda r: {"type": "integer", "minimum": r.randint(3, 10**9), "maximum": -5},
    "counts exchanged": lambda r: {**STRING, "pattern": f"^[a-z]{{{r.randint(6, 99)},{r.randint(0, 5)}}}$"},
    "endless lengths": lambda r: _object(**{f"a{n}": {**STRING, "minLength": 1, "maxLength": 2000} for n in range(r.randint(60, 300))}),
    "long at least": lambda r: {**STRING, "minLength": r.choice([2000, 10**6, 2**31, 2**63, 10**30])},
    "arrays of arrays": lambda r: _nested(r.randint(3, 8), lambda s: {"type": "array", "items": s, "minItems": 900, "maxItems": 1000}),
    "a pattern in a pattern": lambda r: {**STRING, "pattern": "^" + "(" * 5 + "a{900}" + "){1,900}" * 5 + "$"},
    "a pattern of brackets": lambda r: {**STRING, "pattern": "^" + "(" * r.randint(90, 9000) + "$"},
    "types that multiply": lambda r: _nested(r.randint(6, 9), lambda s: {"type": ["object", "array"] * 5, "properties": {"a": s}, "items": s if r.random() < 0.1 else STRING}),
    "a list of itself": lambda r: _recursive({"anyOf": [{"type": "array", "items": _SELF}] * r.randint(2, 4)}),
    "an object of itself": lambda r: _recursive({"anyOf": [_object(a=_SELF), _object(a=_SELF), STRING]}),
    "nothing but itself": lambda r: _recursive(_SELF),
    "in a circle": lambda r: {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "all of itself": lambda r: _recursive({"allOf": [_SELF, _SELF]}),
    "any of any": lambda r: _nested(r.randint(8, 12), lambda s: {"anyOf": [s, s]}),
    "all of any": lambda r: _nested(r.randint(8, 12), lambda s: {"allOf": [{"oneOf": [s, STRING]}, {"oneOf": [s, _object(a=STRING)]}]}),
    "deep": lambda r: _nested(r.randint(100, 230), lambda s: _object(a=s)),
    "very deep": lambda r: _nested(r.randint(400, 480), lambda s: {"items": s}),
    "a huge enum": lambda r: {"enum": [f"{n} " + "x" * 30 for n in range(r.randint(5_000, 6_000))]},
    "many optional names": lambda r: {"type": "object", "properties": {f"k{n}": STRING for n in range(r.randint(800, 2000))}},
    "names that begin alike": lambda r: {"type": "object", "additionalProperties": STRING, "properties": {"a" * n: STRING for n in range(1, r.randint(100, 300))}},
    "a long name": lambda r: _object(**{r.choice("!\"\\{a") * r.randint(50_000, 120_000): STRING}),
    "a long constant": lambda r: {"const": r.choice("!\"\\{a") * r.randint(50_000, 120_000)},
    "great numbers": lambda r: {"type": "integer", "minimum": -(2**63), "maximum": r.choice([2**63 - 1, 2**63, 10**300])},
    "multiples": lambda r: {"type": "integer", "multipleOf": 7919 * 7907},
    "not": lambda r: {"not": _nested(r.randint(5, 200), lambda s: {"not": s})},
    "not a schema": lambda r: {"type": "object", "properties": {"a": r.choice([1, None, [], "x", [[]]])}},
    "a reference away": lambda r: {"$ref": r.choice(["#/nowhere", "http://[::1]:1/x", "#", "#/$defs/\u0000", "file:///etc/passwd"])},
}  # fmt: skip


def _multiplying(depth: int) -> str:
    lines = [f"a{n} ::= a{n + 1} | a{n + 1}" for n in range(depth)]
    return "\n".join(["root ::= a0", *lines, f'a{depth} ::= "x"'])


_GRAMMARS: dict[str, Callable[[random.Random], str]] = {
    "counts exchanged in a grammar": lambda r: f'root ::= "a"{{{r.randint(2, 9)},{r.randint(0, 1)}}}',
    "alternatives that multiply": lambda r: _multiplying(r.randint(26, 60)),
    "empty in a circle": lambda r: 'root ::= e root "x" | "y"\ne ::= f\nf ::= "" | "q"\n',
    "left recursion": lambda r: 'root ::= root "a" | "b"',
    "two ways at every step": lambda r: 'root ::= s\ns ::= "a" s b | "a" s c | "a"\nb ::= "a"\nc ::= "a"',
    "long texts, often": lambda r: 'root ::= "' + "a" * r.randint(2_000, 30_000) + '"{1,1900}',
    "counts in counts": lambda r: "root ::= " + "(" * 9 + '"a"' + "{99})" * 9,
    "brackets": lambda r: "root ::= " + "(" * 30_000 + '"x"' + ")" * 30_000,
    "a chain": lambda r: "root ::= a0\n" + "".join(f"a{n} ::= a{n + 1}\n" for n in range(9_000)) + 'a9000 ::= "x"',
    "nothing": lambda r: r.choice(["root ::= ", 'root ::= ""', "x", "root ::= (", "root", "\u0000", "root ::= [", 'root ::= "']),
    "a regular expression": lambda r: "%llguidance {}\nstart: /((a{1000}){1000}){1000}/",
    "rules of a regular expression": lambda r: '%llguidance {}\nstart: a{1000}\na: b{1000}\nb: "x"{1000}',
    "blanks": lambda r: "root ::= " + r.choice(["{", '"a"{', "[", "#"]) + " " * 30_000,
    "digits": lambda r: 'root ::= "a"{' + "9" * r.randint(20, 5000) + "}",
}  # fmt: skip


def _with_text(model: str, text: str, **fields: Any) -> tuple[str, bytes]:
    path, chat = _chat(**fields)
    chat["messages"][0]["content"] = text
    return path, json.dumps({"model": model, **chat}).encode()


def _described(model: str, text: str) -> tuple[str, bytes]:
    function = {"name": "f", "description": text, "parameters": _object(a={**STRING, "description": text})}
    path, chat = _chat(tools=[{"type": "function", "function": function}])
    return path, json.dumps({"model": model, **chat}).encode()


def _raw(model: str, rest: bytes) -> tuple[str, bytes]:
    return "/v1/chat/completions", b'{"model": "' + model.encode() + b'", ' + rest


_RAW: dict[str, Callable[[random.Random, str], tuple[str, bytes]]] = {
    "a bracket and blanks": lambda r, m: _described(m, "{" + " " * 20_000),
    "many brackets and blanks": lambda r, m: _described(m, ("{" + " " * 200) * 200),
    "lists": lambda r, m: _raw(m, b'"a": [' + b"[]," * 1_300_000 + b"[]]}"),
    "names": lambda r, m: _raw(m, b",".join(b'"%x": 0' % n for n in range(300_000)) + b"}"),
    "digits by the thousand": lambda r, m: _raw(m, b'"a": [' + b",".join([b"9" * 4_299] * 900) + b"]}"),
    "strings": lambda r, m: _raw(m, b'"a": [' + b'"", ' * 900_000 + b'""]}'),
    "nested lists": lambda r, m: _raw(m, b'"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "escapes": lambda r, m: _raw(m, b'"messages": [{"role": "user", "content": "' + rb"\u0041" * 600_000 + b'"}]}'),
    "UTF-16": lambda r, m: (p := _with_text(m, "hi"), (p[0], p[1].decode().encode("utf-16")))[1],
    "UTF-32": lambda r, m: (p := _with_text(m, "hi"), (p[0], p[1].decode().encode("utf-32")))[1],
    "no UTF-8": lambda r, m: _raw(m, b'"messages": [{"role": "user", "content": "\xff\xfe"}]}'),
    "half a pair": lambda r, m: _raw(m, rb'"messages": [{"role": "user", "content": "\ud800"}], "grammar": "root ::= \"\ud800\""}'),
    "cut off": lambda r, m: (lambda p: (p[0], p[1][: r.randint(1, 80)]))(_with_text(m, "hi")),
    "no numbers": lambda r, m: _raw(m, b'"messages": [], "temperature": NaN, "top_p": -Infinity}'),
    "said twice": lambda r, m: _raw(m, b'"messages": [{"role": "user", "content": "hi"}], "grammar": "root ::= \\"a\\"", "grammar": "root ::= \\"a\\"{5,2}"}'),
    "an Ollama's lists": lambda r, m: ("/api/chat", b'{"model": "' + m.encode() + b'", "messages": [' + b"{}," * 1_000_000 + b"{}]}"),
    "an Ollama's numbers": lambda r, m: ("/api/chat", b'{"model": "' + m.encode() + b'", "messages": [' + b"1," * 140_000 + b"1]}"),
    "triggers": lambda r, m: ("/v1/completions", json.dumps({"model": m, "prompt": "aaaaaaaaaaaaaaaaaaaaaaaaaa", "grammar": 'root ::= "a"', "grammar_lazy": True, "grammar_triggers": [{"type": 2, "value": "(a*)*b"}]}).encode()),
}  # fmt: skip
