"""What a grammar, a schema or a tool may cost: tried by the engine's own code, in a process that may end."""

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sixgig.errors import UsageError
from sixgig.gateway.grammars import GrammarGate, grammars_in
from sixgig.grammars.bounds import impossible_grammar, impossible_schema, without_token_names
from sixgig.grammars.checker import Checker
from sixgig.grammars.trial import Item
from tests.serve.loops import in_loop

CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
ARRAYS = {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/S"}} for _ in range(2)]}
MULTIPLYING = "\n".join(["root ::= a0", *(f"a{n} ::= a{n + 1} | a{n + 1}" for n in range(36)), 'a36 ::= "x"'])
TOOL = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "description": "a number of pages {2025}, {5,2} or {1000000}"},
        "maxLength": {"type": "integer", "minimum": 1, "maximum": 10**15, "default": 10**12},
        "minLength": {"type": "string", "enum": ["{9000}", '{"maxLength": 100000}']},
        "text": {"type": "string", "maxLength": 2000, "examples": [{"minItems": 9, "maxItems": 1}]},
        "long": {"type": "string", "maxLength": 10**6},
        **{f"s{n}": {"type": "string", "maxLength": 1000} for n in range(5)},
    },
    "required": ["path"],
    "additionalProperties": False,
}


def nested(depth: int, **schema: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        found = {**schema, "properties": {"a": found}}
    return found


HOSTILE = {
    "lengths exchanged": ("json_schema", {"type": "string", "minLength": 5, "maxLength": 2}),
    "lengths exchanged, deep": ("json_schema", {"$defs": {"a": {"allOf": [{"minItems": 2, "maxItems": 1}]}}}),
    "a pattern's counts exchanged": ("json_schema", {"type": "string", "pattern": "^a{5,2}$"}),
    "a grammar's counts exchanged": ("grammar", 'root ::= "a"{5,2}'),
    "alternatives that multiply": ("grammar", MULTIPLYING),
    "left recursion unseen": ("grammar", 'root ::= e root "x" | "y"\ne ::= f\nf ::= "" | "q"'),
    "long texts, often": ("grammar", 'root ::= "' + "a" * 3000 + '"{0,2000}'),
    "brackets": ("grammar", "root ::= " + "(" * 30_000 + '"x"' + ")" * 30_000),
    "two ways at every step": ("grammar", 'root ::= s\ns ::= "a" s b | "a" s c | "a"\nb ::= "a"\nc ::= "a"'),
    "two ways at every level": ("json_schema", {"$defs": {"S": ARRAYS}, "$ref": "#/$defs/S"}),
    "types that multiply": ("json_schema", nested(8, type=["object", "array"] * 5)),
    "rules of a regular expression": (
        "grammar",
        '%llguidance {}\nstart: a{1000}\na: b{1000}\nb: "x"{1000}',
    ),
    "repeats side by side": ("grammar", "root ::= " + "a " * 14 + '\na ::= "-"*'),
    "repeats side by side, fewer": ("grammar", "root ::= " + "a " * 7 + '\na ::= [a-z ]*'),
    "repeats in a pattern": ("json_schema", {"type": "string", "pattern": "^" + "-*" * 14 + "$"}),
    "a name too long for a regular expression": ("json_schema", {"properties": {"!" * 200_000: {}}}),
}  # fmt: skip


@asynccontextmanager
async def a_gate():
    gate = GrammarGate(Checker())
    try:
        yield gate
    finally:
        await gate.close()


@in_loop
async def test_what_would_end_an_engine_is_refused_and_later_requests_are_unaffected() -> None:
    async with a_gate() as gate:
        for name, (field, hostile) in HOSTILE.items():
            with pytest.raises(UsageError):
                await gate.require(CHAT, {field: hostile})
                pytest.fail(f"passed: {name}")
            if field == "json_schema":
                with pytest.raises(UsageError):
                    await gate.require(CHAT, {"tools": [{"function": {"name": "f", "parameters": hostile}}]})
        await gate.require(CHAT, {"tools": [{"function": {"name": "f", "parameters": TOOL}}]})


@in_loop
async def test_for_completions_a_schema_is_tried_by_the_code_that_reads_it_there() -> None:
    too_much = {"type": "integer", "multipleOf": 7919 * 7907}
    async with a_gate() as gate:
        await gate.require(COMPLETION, {"json_schema": TOOL})
        await gate.require(COMPLETION, {"grammar": '%llguidance {}\nstart: "yes" | "no"'})
        await gate.require(CHAT, {"json_schema": too_much})
        for refused in (
            {"json_schema": too_much},
            {
                "json_schema": {
                    "type": "array",
                    "minItems": 10**6,
                    "items": {"type": "array", "minItems": 10**6},
                }
            },
            {"grammar": "%llguidance {}\nstart: /((a{1000}){1000}){1000}/"},
        ):
            with pytest.raises(UsageError, match="too much"):
                await gate.require(COMPLETION, refused)
        with pytest.raises(UsageError, match="cannot follow"):
            await gate.require(COMPLETION, {"json_schema": {"$ref": "#"}})


@in_loop
async def test_what_the_engine_refuses_in_its_own_words_is_left_to_it() -> None:
    async with a_gate() as gate:
        for fields in (
            {"grammar": "root ::= ("},
            {"grammar": 'root ::= root "a" | "b"'},
            {"json_schema": {"type": "strong"}},
            {"json_schema": {"pattern": "^(a$"}},
            {"tools": [{"function": {"parameters": {"$ref": "#/nowhere"}}}]},
        ):
            await gate.require(CHAT, fields)


@in_loop
async def test_a_fault_in_one_tool_hides_no_other() -> None:
    async with a_gate() as gate:
        faulty = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a$"}}}
        bad = HOSTILE["types that multiply"][1]
        for tools in ([faulty, bad], [{**faulty, "properties": {**faulty["properties"], "b": bad}}]):
            with pytest.raises(UsageError, match="too much"):
                await gate.require(CHAT, {"tools": [{"function": {"parameters": tool}} for tool in tools]})


@in_loop
async def test_ordinary_tools_and_schemas_are_taken() -> None:
    strings = {f"s{n}": {"type": "string", "maxLength": 1000} for n in range(5)}
    edit = {
        "type": "object",
        "properties": {
            "file_path": {"type": "string", "description": "absolute; {2025} is a year, { is a brace"},
            "edits": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/edit"}},
            "mode": {"anyOf": [{"type": "null"}, {"enum": ["content", "count", "files"]}]},
            "limit": {"type": "integer", "exclusiveMinimum": 0, "maximum": 2**53 - 1},
        },
        "$defs": {"edit": {"type": "object", "properties": {"old": {"type": "string"}}}},
        "required": ["file_path"],
        "additionalProperties": False,
        "$schema": "http://json-schema.org/draft-07/schema#",
    }
    async with a_gate() as gate:
        for schema in (
            TOOL,
            edit,
            {"type": "object", "properties": {"a": {"type": "string", "maxLength": 2000}}},
            {"type": "object", "properties": strings},
            {"enum": [f"country {n}" for n in range(1000)]},
        ):
            tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
            await gate.require(CHAT, {"tools": tools})
            await gate.require(CHAT, {"response_format": {"type": "json_object", "schema": schema}})
        tools = [{"name": f"f{n}", "input_schema": edit} for n in range(128)]
        await gate.require("/v1/messages", {"tools": tools})


class CountingChecker(Checker):
    def __init__(self) -> None:
        super().__init__()
        self.tried: list[int] = []

    async def try_out(self, items: Any) -> Any:
        self.tried.append(len(items))
        await asyncio.sleep(0)
        return ("refused", "", "") if items[0].content == "bad" else None


@in_loop
async def test_a_request_is_tried_once_and_one_without_grammar_never() -> None:
    checker = CountingChecker()
    gate = GrammarGate(checker)
    await gate.require(CHAT, {"messages": [], "tools": [], "response_format": {"type": "text"}})
    assert checker.tried == []
    tools = {"tools": [{"input_schema": TOOL}, {"parameters": TOOL}]}
    await asyncio.gather(*(gate.require(CHAT, json.loads(json.dumps(tools))) for _ in range(5)))
    await gate.require(CHAT, tools)
    assert checker.tried == [2]
    for _ in range(2):
        with pytest.raises(UsageError, match="refused"):
            await gate.require(CHAT, {"grammar": "bad"})
    assert checker.tried == [2, 1]


@in_loop
async def test_a_checker_that_was_killed_is_replaced() -> None:
    checker = Checker()
    gate = GrammarGate(checker)
    await gate.require(CHAT, {"grammar": 'root ::= "a"'})
    checker._child._process.kill()
    await gate.require(CHAT, {"grammar": 'root ::= "b"'})
    await gate.close()


def test_every_place_of_every_api_is_looked_at() -> None:
    schema = {"type": "object"}
    places = {
        "grammar": "root ::= x",
        "json_schema": schema,
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
        "text": {"format": {"type": "json_schema", "schema": schema}},
        "output_format": {"type": "json_schema", "schema": schema},
        "tools": [{"function": {"parameters": schema}}, {"parameters": schema}, {"input_schema": schema}],
    }
    for name, value in places.items():
        found = list(grammars_in(CHAT, {name: value}))
        assert {item.name for item in found} == {name}
        assert len(found) == (3 if name == "tools" else 1)
    assert list(grammars_in("/infill", {"json_schema": schema})) == [
        Item("json_schema", "constraint", schema)
    ]
    for name in places:
        for other in (None, 1, "x", [], [1], {}, {"format": 1}, [{"function": 1}]):
            if (name, other) != ("grammar", "x") and name != "json_schema":
                assert list(grammars_in(CHAT, {name: other})) == []


def test_only_keywords_of_a_schema_are_bounds() -> None:
    assert impossible_schema(TOOL) is None
    data = {"minLength": 5, "maxLength": 2}
    for schema in (
        {"enum": [data], "const": data, "default": data, "examples": [data], "description": "{5,2}"},
        {"properties": {"minLength": {"const": 5}, "maxLength": {"const": 2}}},
        {"pattern": r"^\{5,2\}[{5,2}]a{2,5}$"},
    ):
        assert impossible_schema(schema) is None
    for place in ("items", "not", "additionalProperties"):
        assert impossible_schema({place: {"properties": {"a": {"anyOf": [data]}}}})


def test_a_grammar_counts_what_it_repeats_and_not_what_it_says() -> None:
    assert impossible_grammar('root ::= "{5,2}" [{5,2}] # {5,2}\n "\\"{5,2}" "a"{2,5}') is None
    assert impossible_grammar('root ::= "x" ( "a" ) { 10 , 9 }')
    assert impossible_grammar('root ::= "a"{' + "9" * 5000 + ",1}")


def test_tokens_are_named_by_number_outside_of_texts() -> None:
    text = 'root ::= <think> "<a>" [<b>] !</think> <[5]> # <c>'
    assert without_token_names(text) == 'root ::= <[0]> "<a>" [<b>] !<[0]> <[5]> # <c>'
