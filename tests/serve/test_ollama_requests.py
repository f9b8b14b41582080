import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import UsageError
from sixgig.server.ollama_fields import (
    ChatRequest,
    EmbeddingsRequest,
    EmbedRequest,
    GenerateRequest,
    ShowRequest,
    parse,
)
from sixgig.server.ollama_requests import chat_request, generate_request

KINDS = (ChatRequest, GenerateRequest, EmbedRequest, EmbeddingsRequest, ShowRequest)
HELLO = [{"role": "user", "content": "hello"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def chat(**fields):
    body = json.dumps({"model": "m", "messages": HELLO} | fields).encode()
    return chat_request(parse(ChatRequest, body))


def generate(has_template=True, **fields):
    body = json.dumps({"model": "m", "prompt": "hello"} | fields).encode()
    return generate_request(parse(GenerateRequest, body), has_template)


def test_a_chat_becomes_the_engines_chat_and_is_streamed_unless_told_otherwise():
    request = chat()
    assert request.path == "/v1/chat/completions"
    assert request.fields == {
        "model": "m",
        "messages": HELLO,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert chat(stream=None).fields["stream"] is True
    assert "stream_options" not in chat(stream=False).fields


@pytest.mark.parametrize(
    "option",
    [
        {"temperature": 0.0},
        {"top_k": 0},
        {"top_p": 0.5},
        {"min_p": 0.1},
        {"typical_p": 0.9},
        {"seed": 7},
        {"stop": ["a", "b"]},
        {"repeat_penalty": 1.1},
        {"repeat_last_n": 64},
        {"presence_penalty": -1.0},
        {"frequency_penalty": 1.0},
        {"mirostat": 2, "mirostat_tau": 5.0, "mirostat_eta": 0.1},
    ],
)
def test_an_option_of_the_same_name_reaches_the_engine_zero_included(option):
    assert option.items() <= chat(options=option).fields.items()


@pytest.mark.parametrize(("predict", "limit"), [(5, 5), (0, None), (-1, None), (-2, None)])
def test_num_predict_below_one_means_no_limit(predict, limit):
    assert chat(options={"num_predict": predict}).fields.get("max_tokens") == limit


@pytest.mark.parametrize(("seed", "sent"), [(-1, 2**32 - 1), (0, 0), (2**32 + 5, 5)])
def test_any_seed_fits_the_engines_and_minus_one_is_its_random_one(seed, sent):
    assert chat(options={"seed": seed}).fields["seed"] == sent


@pytest.mark.parametrize("last", [-1, 2**31 - 1])
def test_a_repetition_window_cannot_take_memory_without_bound(last):
    assert chat(options={"repeat_last_n": last}).fields["repeat_last_n"] <= 1 << 16


def test_what_is_ignored_is_named():
    options = {"num_ctx": 9, "num_gpu": 1, "temprature": 1, "top_k": 2}
    body = json.dumps({"model": "m", "options": options, "shift": True}).encode()
    ignored = parse(ChatRequest, body).ignored
    assert set(ignored) == {"shift", "options.num_ctx", "options.num_gpu", "options.temprature"}


def test_json_and_a_schema_become_the_engines_response_format():
    schema = {"type": "object", "properties": {"a": {"type": "integer", "default": None}}}
    assert chat(format="json").fields["response_format"] == {"type": "json_object"}
    told = chat(format=schema).fields["response_format"]
    assert (told["type"], told["json_schema"]["schema"]) == ("json_schema", schema)
    for nothing in (None, ""):
        assert "response_format" not in chat(format=nothing).fields


def test_a_bare_completion_has_a_schema_instead_of_a_response_format():
    assert generate(raw=True, format="json").fields["json_schema"] == {"type": "object"}
    assert generate(raw=True, format={"type": "array"}).fields["json_schema"] == {"type": "array"}


@pytest.mark.parametrize(
    ("think", "kwargs"),
    [
        (True, {"enable_thinking": True}),
        (False, {"enable_thinking": False}),
        ("low", {"enable_thinking": True, "reasoning_effort": "low"}),
    ],
)
def test_thinking_is_asked_of_the_template(think, kwargs):
    assert chat(think=think).fields["chat_template_kwargs"] == kwargs


def test_thinking_is_the_templates_own_choice_when_nothing_is_said():
    assert "chat_template_kwargs" not in chat().fields


def test_tools_pass_with_all_that_was_said_of_them():
    tool = {"type": "function", "function": {"name": "f", "parameters": {"a": None}, "strict": True}}
    assert chat(tools=[tool]).fields["tools"] == [tool]
    assert chat(tools=[{"function": {"name": "f"}}]).fields["tools"][0]["type"] == "function"
    assert "tools" not in chat(tools=[]).fields


def test_arguments_of_earlier_calls_become_text_and_answers_find_their_calls():
    calls = [
        {"function": {"name": "weather", "arguments": {"city": "Köln"}}},
        {"function": {"name": "time", "arguments": {}}},
    ]
    messages = [
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "noon", "tool_name": "time"},
        {"role": "tool", "content": "sun"},
    ]
    asked, noon, sun = chat(messages=messages).fields["messages"]
    first, second = asked["tool_calls"]
    assert json.loads(first["function"]["arguments"]) == {"city": "Köln"}
    assert first["id"] != second["id"]
    assert (noon["tool_call_id"], sun["tool_call_id"]) == (second["id"], first["id"])


def test_two_calls_of_one_tool_are_answered_in_order():
    call = {"function": {"name": "weather", "arguments": {}}}
    answer = {"role": "tool", "content": "sun", "tool_name": "weather"}
    turns = chat(messages=[{"role": "assistant", "tool_calls": [call, call]}, answer, answer]).fields[
        "messages"
    ]
    assert [turn["tool_call_id"] for turn in turns[1:]] == [one["id"] for one in turns[0]["tool_calls"]]


def test_a_call_that_is_named_by_its_id_is_that_one():
    calls = [{"id": id, "function": {"name": "f", "arguments": {}}} for id in ("x", "y")]
    answer = {"role": "tool", "content": "1", "tool_call_id": "y", "tool_name": "f"}
    messages = [{"role": "assistant", "tool_calls": calls}, answer]
    assert chat(messages=messages).fields["messages"][1]["tool_call_id"] == "y"


def test_earlier_thinking_is_given_back():
    turn = {"role": "assistant", "content": "a", "thinking": "b"}
    assert chat(messages=[turn]).fields["messages"][0]["reasoning_content"] == "b"


def test_a_prompt_is_a_chat_of_one_turn_after_the_system():
    request = generate(system="be brief")
    assert request.path == "/v1/chat/completions"
    assert [turn["role"] for turn in request.fields["messages"]] == ["system", "user"]


@pytest.mark.parametrize(("has_template", "raw"), [(True, True), (False, False)])
def test_a_prompt_is_bare_when_raw_or_without_a_template(has_template, raw):
    request = generate(has_template, raw=raw)
    assert (request.path, request.fields["prompt"]) == ("/v1/completions", "hello")
    with pytest.raises(UsageError, match="no place for system"):
        generate(has_template, raw=raw, system="be brief")


def test_a_suffix_asks_for_what_stands_between():
    request = generate(suffix="end", options={"num_predict": 3})
    assert request.path == "/infill"
    wanted = {"input_prefix": "hello", "input_suffix": "end", "n_predict": 3}
    assert wanted.items() <= request.fields.items()


def test_images_and_other_templates_are_refused_with_a_cure():
    with pytest.raises(UsageError, match="sees no images"):
        chat(messages=[{"role": "user", "content": "x", "images": ["AAAA"]}])
    with pytest.raises(UsageError, match="sees no images"):
        generate(images=["AAAA"])
    with pytest.raises(UsageError, match="raw"):
        generate(template="{{ .Prompt }}")


@pytest.mark.parametrize(
    ("given_value", "seconds"),
    [("5m", 300), (30, 30), ("1h30m", 5400), (0, 0), ("0", 0), (None, None), ("", None)],
)
def test_keep_alive_is_a_duration_or_seconds(given_value, seconds):
    body = json.dumps({"model": "m", "keep_alive": given_value}).encode()
    assert parse(ChatRequest, body).keep_alive == seconds


def test_a_negative_keep_alive_is_for_ever():
    assert parse(ChatRequest, b'{"model": "m", "keep_alive": "-1m"}').keep_alive < 0


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"model": 5}, "model"),
        ({"model": ""}, "model"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [1]}]}, "messages.0.content"),
        (
            {"messages": [{"role": "a", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
            "messages.0.tool_calls.0.function.arguments",
        ),
        ({"tools": [{}]}, "tools.0.function"),
        ({"tools": [{"type": "code", "function": {"name": "f"}}]}, "tools.0.type"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"stop": "x"}}, "options.stop"),
        ({"options": {"top_k": 2**40}}, "options.top_k"),
        ({"options": []}, "options"),
        ({"format": 3}, "format"),
        ({"format": "yaml"}, "format"),
        ({"stream": "perhaps"}, "stream"),
        ({"think": []}, "think"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"keep_alive": {}}, "keep_alive"),
        ({"top_logprobs": 21}, "top_logprobs"),
    ],
)
def test_a_wrong_field_is_named_with_its_place(wrong, place):
    with pytest.raises(UsageError) as refusal:
        chat(**wrong)
    assert refusal.value.numbers.startswith(place)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'"x"',
        b"[" * 10_000,
        b'{"model":"\\ud800"}',
        b'{"model":NaN}',
        b"{}",
    ],
    ids=range(10),
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_request_is_refused(kind, body):
    with pytest.raises(UsageError):
        parse(kind, body)


def test_a_number_that_json_does_not_know_is_refused_before_the_engine_sees_it():
    body = b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "format": {"a": 1e999}}'
    with pytest.raises(UsageError, match="out of range"):
        _ = chat_request(parse(ChatRequest, body)).body


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = sorted({name for kind in KINDS for name in kind.model_fields} | {"ignored", "model_dump", "texts"})
REQUESTS = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6)
PLAUSIBLE = st.fixed_dictionaries(
    {"model": st.just("m")}, optional={name: JSON for name in NAMES if name != "model"}
)


@given(st.sampled_from(KINDS), REQUESTS | PLAUSIBLE, st.booleans())
def test_any_json_is_a_request_or_is_refused(kind, document, has_template):
    try:
        request = parse(kind, json.dumps(document).encode())
        if isinstance(request, ChatRequest):
            json.loads(chat_request(request).body)
        elif isinstance(request, GenerateRequest):
            json.loads(generate_request(request, has_template).body)
        elif not isinstance(request, ShowRequest):
            assert isinstance(request.ignored, tuple)
    except UsageError as error:
        assert error.what
