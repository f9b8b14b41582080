"""No field is passed over in silence: each is heeded, refused by name, or named in a header."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sixgig.engines.card import ModelCard
from sixgig.errors import UsageError
from sixgig.gateway import fields as declared
from sixgig.gateway.call import Call
from sixgig.gateway.fields import CHAT, COMPLETIONS, COUNT, EMBEDDINGS, FIELDS, MESSAGES, RESPONSES
from sixgig.gateway.limits import check_limits
from sixgig.gateway.preparing import IGNORED_HEADER, Prepared, prepared
from tests.serve.fake_engines import card
from tests.serve.gateways import CHATS, far_settings, house
from tests.serve.loops import in_loop

MANUAL = Path(__file__).resolve().parents[2] / "docs" / "serve.md"
TURN = {"role": "user", "content": "hello"}
USUAL = {
    CHAT: {"messages": [TURN]},
    COMPLETIONS: {"prompt": "hello"},
    EMBEDDINGS: {"input": "hello"},
    RESPONSES: {"input": "hello"},
    MESSAGES: {"messages": [TURN], "max_tokens": 5},
}


def knows_tools() -> ModelCard:
    made = card("m")
    return ModelCard(**{**vars(made), "chat_template": "{% if tools %}{{ tools }}{% endif %}"})


def usual_model(path) -> ModelCard:
    return replace(card("m"), pooling="mean") if path == EMBEDDINGS else knows_tools()


def asked(path, model=None, **fields) -> Prepared:
    body = json.dumps({"model": "m", **USUAL.get(path, USUAL[MESSAGES]), **fields}).encode()
    call = Call("openai", path, body, "m", stream=False)
    return prepared(call, call.fields, model or usual_model(path))


def changed(path, **fields):
    return json.loads(asked(path, **fields).body)


def test_the_manual_shows_the_declaration():
    assert declared.table() in MANUAL.read_text()


@pytest.mark.parametrize("path", USUAL)
def test_what_is_usual_and_what_is_given_as_nothing_passes_byte_for_byte(path):
    neutral = {name: field.neutral[0] for name, field in FIELDS[path].items() if field.neutral}
    nothing = {name: None for name, field in FIELDS[path].items() if field.fate != "passed"}
    for extra in ({}, neutral, nothing):
        found = asked(path, **extra)
        assert found.told == () and json.loads(found.body) == {"model": "m", **USUAL[path], **extra}


@pytest.mark.parametrize(
    ("path", "name"),
    [(path, name) for path in USUAL for name, field in FIELDS[path].items() if field.fate == "refused"],
)
def test_a_field_that_would_change_the_answer_is_refused_by_name(path, name):
    with pytest.raises(UsageError, match=rf"^{name} is not possible"):
        asked(path, **{name: "something"})


@pytest.mark.parametrize("path", USUAL)
def test_a_field_that_only_adds_something_is_named_and_so_is_one_that_nobody_knows(path):
    told = [name for name, field in FIELDS[path].items() if field.fate == "told"]
    found = asked(path, **dict.fromkeys(told, "x"), tempature=1, messages_=[])
    assert set(found.told) == {*told, "tempature", "messages_"}


TOOL = {"name": "f", "parameters": {"type": "object"}}
OTHER = {"name": "g", "parameters": {"type": "object"}}
OPENAI_TOOLS = [{"type": "function", "function": TOOL}, {"type": "function", "function": OTHER}]
TOOLS = {
    CHAT: OPENAI_TOOLS,
    RESPONSES: [{"type": "function", **TOOL}, {"type": "function", **OTHER}],
    MESSAGES: [{"name": "f", "input_schema": {}}, {"name": "g", "input_schema": {}, "type": "custom"}],
}
ONE = {
    CHAT: lambda name: {"type": "function", "function": {"name": name}},
    RESPONSES: lambda name: {"type": "function", "name": name},
    MESSAGES: lambda name: {"type": "tool", "name": name},
}


@pytest.mark.parametrize("path", TOOLS)
def test_a_tool_that_must_be_called_is_the_only_one_and_must_be(path):
    """The engine takes a choice of one for none at all, or for any."""
    found = changed(path, tools=TOOLS[path], tool_choice=ONE[path]("g"))
    assert found["tools"] == TOOLS[path][1:]
    assert found["tool_choice"] == ({"type": "any"} if path == MESSAGES else "required")
    with pytest.raises(UsageError, match="names 'h', which is none of the tools"):
        asked(path, tools=TOOLS[path], tool_choice=ONE[path]("h"))
    with pytest.raises(UsageError, match="tool_choice without tools"):
        asked(path, tool_choice=ONE[path]("f"))
    with pytest.raises(UsageError, match="tool_choice of type 'allowed_tools'"):
        asked(path, tools=TOOLS[path], tool_choice={"type": "allowed_tools"})


@pytest.mark.parametrize("path", TOOLS)
def test_a_choice_among_all_tools_passes_byte_for_byte(path):
    for choice in ({"type": "auto"}, {"type": "any"}) if path == MESSAGES else ("auto", "required", "none"):
        assert changed(path, tools=TOOLS[path], tool_choice=choice)["tool_choice"] == choice
    with pytest.raises(UsageError, match="tool_choice without tools"):
        asked(path, tool_choice={"type": "any"} if path == MESSAGES else "required")


def test_no_tool_of_anthropics_is_called_where_none_may_be():
    found = changed(MESSAGES, tools=TOOLS[MESSAGES], tool_choice={"type": "none"})
    assert found["tools"] == []
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    told = asked(MESSAGES, tools=TOOLS[MESSAGES], tool_choice=choice).told
    assert told == ("tool_choice.disable_parallel_tool_use",)


def test_thinking_is_left_out_where_anthropics_clients_say_so_and_the_template_can():
    thinks = ModelCard(**{**vars(card("m")), "chat_template": "{% if enable_thinking %}<think>{% endif %}"})
    for path in (MESSAGES, COUNT):
        found = json.loads(asked(path, thinks, thinking={"type": "disabled"}).body)
        assert found["chat_template_kwargs"] == {"enable_thinking": False}
        for thinking in ({"type": "enabled", "budget_tokens": 100}, {"type": "adaptive"}, None):
            assert b"enable_thinking" not in asked(path, thinks, thinking=thinking).body
    assert b"enable_thinking" not in asked(MESSAGES, thinking={"type": "disabled"}).body


def test_a_form_that_anthropics_clients_ask_for_is_refused_and_an_effort_is_told_of():
    with pytest.raises(UsageError, match=r"output_config\.format is not possible"):
        asked(MESSAGES, output_config={"format": {"type": "json_schema", "schema": {}}})
    assert asked(MESSAGES, output_config={"effort": "low"}).told == ("output_config",)


@pytest.mark.parametrize("path", TOOLS)
def test_tools_that_a_template_has_no_place_for_are_told_of_and_none_of_them_can_be_asked_for(path):
    silent = card("m")
    assert asked(path, silent, tools=TOOLS[path]).told == ("tools",)
    for choice in ({"type": "any"} if path == MESSAGES else "required", ONE[path]("f")):
        with pytest.raises(UsageError, match="m knows no tools: its chat template has no place for them"):
            asked(path, silent, tools=TOOLS[path], tool_choice=choice)
    none = {"type": "none"} if path == MESSAGES else "none"
    assert asked(path, silent, tools=TOOLS[path], tool_choice=none).told == ()
    own = ModelCard(**{**vars(silent), "tool_template": "{{ tools }}"})
    assert asked(path, own, tools=TOOLS[path]).told == ()


def test_tools_that_a_server_would_run_are_told_of_or_refused():
    found = asked(RESPONSES, tools=[*TOOLS[RESPONSES], {"type": "web_search"}])
    assert found.told == ("tools.web_search",)
    for kind in ("web_search_20250305", "bash_20250124", "computer_20250124"):
        with pytest.raises(UsageError, match=f"a tool of type '{kind}' is not possible"):
            asked(MESSAGES, tools=[{"type": kind, "name": "x"}])


@pytest.mark.parametrize("path", [MESSAGES, COUNT])
@pytest.mark.parametrize(
    "content",
    [
        [{"type": "document", "source": {"type": "text", "data": "x"}}],
        [{"type": "search_result"}],
        [{"type": "server_tool_use"}],
        [{"type": "container_upload"}],
        [{"text": "no type"}],
        ["text"],
        [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "document"}]}],
    ],
)
def test_a_block_that_the_engine_would_leave_out_is_refused_by_name(path, content):
    with pytest.raises(UsageError, match=r"a block of type .* in (messages|tool_result) is not possible"):
        asked(path, messages=[{"role": "user", "content": content}])


def test_blocks_that_the_engine_reads_pass_and_hidden_thinking_is_told_of():
    blocks = [
        {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
        {"type": "thinking", "thinking": "x"},
        {"type": "tool_use", "id": "1", "name": "f", "input": {}},
        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "x"}]},
        {"type": "tool_result", "tool_use_id": "1", "content": "x"},
    ]
    system = [{"type": "text", "text": "x"}]
    found = asked(MESSAGES, messages=[{"role": "assistant", "content": blocks}], system=system)
    assert found.told == ()
    blocks.append({"type": "redacted_thinking", "data": "x"})
    found = asked(MESSAGES, messages=[{"role": "assistant", "content": blocks}])
    assert found.told == ("messages.redacted_thinking",)
    with pytest.raises(UsageError, match="a block of type 'image' in system"):
        asked(MESSAGES, system=[{"type": "image"}])


@pytest.mark.parametrize(
    ("bias", "sound"),
    [
        ({"5": 1}, True), ({"5": -100.5, "the": False}, True), ([[5, 1], ["the", False]], True), ({}, True),
        ("5", False), (5, False), ({"5": "1"}, False), ({"5": True}, False), ([5, 1], False),
        ([[5]], False), ([[5, None]], False), ([[None, 1]], False), ([{"5": 1}], False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_logit_bias_is_one_that_the_engine_reads(path, bias, sound):
    if sound:
        assert changed(path, logit_bias=bias)["logit_bias"] == bias
    else:
        with pytest.raises(UsageError, match="logit_bias cannot be read"):
            asked(path, logit_bias=bias)


def test_the_form_of_a_response_reaches_the_engine_under_its_own_name():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    form = {"type": "json_schema", "name": "x", "schema": schema, "strict": True}
    found = changed(RESPONSES, text={"format": form})
    assert found["response_format"] == {"type": "json_schema", "json_schema": {"schema": schema}}
    assert (
        changed(RESPONSES, text={"format": {"type": "json_object"}})["response_format"]["type"]
        == "json_object"
    )
    found = asked(RESPONSES, text={"format": {"type": "text"}, "verbosity": "low"})
    assert found.told == ("text.verbosity",) and b"response_format" not in found.body


def test_what_a_schema_asks_for_and_the_engine_cannot_hold_is_told_or_where_strict_refused():
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "[0-9]"}}}
    form = {"type": "json_schema", "json_schema": {"schema": schema}}
    assert asked(CHAT, response_format=form).told == ("response_format.pattern",)
    assert asked(CHAT, json_schema=schema).told == ("json_schema.pattern",)
    form["json_schema"]["strict"] = True
    with pytest.raises(UsageError, match="response_format with pattern is not possible"):
        asked(CHAT, response_format=form)
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert asked(CHAT, tools=[tool]).told == ("tools.pattern",)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "function", "name", "content", "schema", "format", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
NAMES = sorted({name for fields in FIELDS.values() for name in fields})


@settings(max_examples=200)
@given(st.sampled_from(sorted(FIELDS)), st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=5))
def test_any_request_is_prepared_or_refused_in_one_line(path, fields):
    body = json.dumps(fields).encode()
    try:
        found = prepared(Call("openai", path, body, "m", stream=False), fields, card("m"))
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        json.loads(found.body)


@pytest.mark.parametrize("api", ["openai", "responses", "anthropic"])
@in_loop
async def test_an_answer_names_what_was_ignored_and_a_refusal_is_in_the_apis_shape(tmp_path, api):
    async with house(tmp_path) as home:
        visit = await home.answered(api, stream=False, tempature=1)
        assert (visit.status, visit.headers[IGNORED_HEADER]) == (200, "tempature")
        usual = await home.answered(api, stream=False)
        assert IGNORED_HEADER not in usual.headers
        refused = {"openai": "audio", "responses": "prompt", "anthropic": "container"}[api]
        visit = await home.answered(api, stream=False, **{refused: "x"})
        assert visit.status == 400 and refused in visit.json["error"]["message"]
        assert len(home.here.asked) == 2


@in_loop
async def test_what_leaves_for_an_upstream_is_its_own_to_judge(tmp_path):
    async with house(
        tmp_path, far_settings({"when": "model_missing"}, input_price=0, output_price=0)
    ) as home:
        visit = await home.answered(model="elsewhere", stream=False, web_search_options={}, tempature=1)
        assert visit.status == 200 and IGNORED_HEADER not in visit.headers
        assert home.far.bodies[0]["web_search_options"] == {}


@in_loop
async def test_ollamas_clients_hear_of_tools_that_the_template_does_not_know(tmp_path):
    async with house(tmp_path) as home:
        path, _ = CHATS["ollama"]
        assert path == "/api/chat"
        visit = await home.answered("ollama", stream=False, tools=OPENAI_TOOLS, tempature=1)
        assert (visit.status, visit.headers[IGNORED_HEADER]) == (200, "tempature, tools")


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"response_format": "json_object"}),
        (MESSAGES, {"messages": 5}),
        (MESSAGES, {"system": 5}),
        (MESSAGES, {"stop_sequences": "e"}),
        (MESSAGES, {"max_tokens": -1}),
        (MESSAGES, {"max_tokens": True, "system": {}}),
    ],
)
def test_what_the_engine_would_take_for_nothing_is_refused(path, fields):
    with pytest.raises(UsageError, match=next(reversed(fields))):
        asked(path, **fields)


@pytest.mark.parametrize("fields", [{"best_of": 1}, {"suffix": ""}])
def test_a_default_that_is_named_is_no_request(fields):
    assert asked(COMPLETIONS, **fields).told == ()


@pytest.mark.parametrize("name", ["max_tokens", "n", "top_k"])
def test_a_number_that_the_engine_would_wrap_is_refused(name):
    body = json.dumps({"model": "m", "messages": [TURN], name: 2**32 + 5}).encode()
    with pytest.raises(UsageError, match=f"{name} is too large"):
        check_limits(Call("openai", CHAT, body, "m", stream=False), card("m"))
