"""Which parts of a JSON schema the engine holds an answer to, judged as the engine itself shows."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import UsageError
from sixgig.gateway.fields import CHAT, COMPLETIONS
from sixgig.gateway.schemas import undoing, unheld
from tests.serve.engine_processes import post, running
from tests.serve.loops import in_loop
from tests.serve.ollama_server import DEMO
from tests.serve.test_fields import TURN, asked

# Each with its judgement by a chat and by a text, and one that the engine itself is asked of.
PATTERNS = {
    r"^[0-9]{3}$": (True, True), r"^(?:ax|by)$": (True, True), r"^\x41\u00e9z$": (True, True),
    "^ax?$": (True, True), r"^\(a\)\-$": (True, True), r"^\d{3}$": (False, True), r"^[\w]{4}$": (False, True),
    r"^(?P<n>ab)$": (False, True), "ax": (False, True), "^ax": (False, True), "ax$": (False, True),
    r"^(?=a)ab$": (False, False), r"^\bxy$": (False, False),
    "^a$b$": (False, False), r"^(a)\1$": (False, False),
}  # fmt: skip
SCHEMAS = [
    (
        {"type": "array", "items": {"enum": [1]}, "minItems": 2, "uniqueItems": True},
        ["uniqueItems"],
        ["uniqueItems"],
    ),
    ({"type": "string", "format": "nonsense"}, ["format"], ["format"]),
    ({"type": "string", "format": "email"}, ["format"], []),
    ({"type": "string", "format": "date"}, [], []),
    ({"anyOf": [{"not": {}}, {"type": "integer"}]}, ["not"], ["not"]),
    ({"type": "integer", "multipleOf": 7}, ["multipleOf"], []),
    ({"type": "object", "properties": {"if": {"type": "integer"}}, "required": ["if"]}, [], []),
]


@in_loop
async def test_what_of_a_schema_is_held_is_as_the_engine_itself_shows():
    """Very hot, an answer keeps to a schema only where it must."""

    async def said(engine, path, fields):
        return [
            (await post(engine, path, **fields, seed=seed, max_tokens=24, temperature=3, top_k=0))["choices"][
                0
            ]
            for seed in (1, 2)
        ]

    async with running(DEMO, context=256, sequences=2) as engine:
        for pattern, (in_chat, in_text) in PATTERNS.items():
            schema = {"type": "string", "pattern": pattern}
            form = {"type": "json_schema", "json_schema": {"schema": schema}}
            chats = await said(engine, CHAT, {"messages": [TURN], "response_format": form})
            texts = await said(engine, COMPLETIONS, {"prompt": "x", "json_schema": schema})
            assert (
                (unheld(schema) == [])
                is in_chat
                is all(keeps(c["message"]["content"], pattern) for c in chats)
            )
            begun = [choice["text"].startswith('"') for choice in texts]
            assert (undoing(schema) == []) is in_text is all(begun), (pattern, texts)
        for schema, _, undone in SCHEMAS:
            assert undoing(schema) == undone
            (text, _) = await said(engine, COMPLETIONS, {"prompt": "x", "json_schema": schema})
            assert (text["text"][:1] in '"{[-0123456789') is (undone == []), (schema, text)


def keeps(content, pattern):
    try:
        return re.search(pattern, json.loads(content)) is not None
    except ValueError:
        return False


@pytest.mark.parametrize(("schema", "faults", "undone"), SCHEMAS)
def test_what_undoes_a_texts_schema_is_refused_and_what_a_chat_cannot_hold_is_told(schema, faults, undone):
    form = {"type": "json_schema", "json_schema": {"schema": schema}}
    assert asked(CHAT, response_format=form).told == tuple(f"response_format.{fault}" for fault in faults)
    for path in (COMPLETIONS, "/infill"):
        if undone:
            with pytest.raises(UsageError, match=f"json_schema with {undone[0]} is not possible"):
                asked(path, json_schema=schema)
        else:
            assert asked(path, json_schema=schema).told == ()


@pytest.mark.parametrize(
    ("schema", "faults"),
    [
        (
            {"type": "object", "title": "x", "description": "not", "properties": {"not": {"type": "string"}}},
            [],
        ),
        ({"type": "integer", "minimum": 1, "maximum": 9}, []),
        ({"type": "number", "minimum": 1}, ["minimum"]),
        (
            {"type": "array", "items": {"type": "string", "format": "date"}, "uniqueItems": True},
            ["uniqueItems"],
        ),
        ({"anyOf": [{"not": {}}, {"type": "string", "format": "email"}]}, ["format", "not"]),
        ({"$defs": {"a": {"multipleOf": 2}}, "$ref": "#/$defs/a"}, ["multipleOf"]),
        ({"type": "string", "pattern": "^a$", "minLength": 3}, ["minLength"]),
        ({"if": {}, "then": {}, "else": {}}, ["if", "then", "else"]),
        ("no schema", []),
        ({"properties": [], "anyOf": {}, "items": 3}, []),
    ],
)
def test_keywords_that_are_not_held_are_named(schema, faults):
    assert sorted(unheld(schema)) == sorted(faults)


@given(st.text("^$\\[](){}ab.*+?|:=<1,x"))
def test_any_pattern_is_judged(pattern):
    for judge in (unheld, undoing):
        assert judge({"type": "string", "pattern": pattern}) in ([], ["pattern"])


def test_a_long_pattern_is_judged_at_once():
    for pattern in (r"^" + r"\[" * 50_000, "^" + "(" * 100_000, "^[" + "\\x41" * 50_000):
        for judge in (unheld, undoing):
            judge({"type": "string", "pattern": pattern})
