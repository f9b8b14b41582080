import json
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import ServingError
from sixgig.server.ollama_answers import (
    Form,
    Lines,
    embeddings,
    engine_error,
    is_too_long,
    rfc3339,
    shortened,
    whole,
)

TIMINGS = {"cache_n": 3, "prompt_n": 4, "prompt_ms": 1.5, "predicted_n": 2, "predicted_ms": 2.25}
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def form(chat=True):
    return Form("demo:latest", chat, now_ns=lambda: 10**9, clock_ns=lambda: 500, began_ns=100)


def event(delta=None, finish=None, **more):
    choice = {"index": 0, "finish_reason": finish, "delta": delta or {}}
    return b"data: " + json.dumps({"choices": [choice]} | more, ensure_ascii=False).encode() + b"\n\n"


def stream(*deltas, finish="stop"):
    """What the engine sends for these deltas, from its first event to its last."""
    closing = {"choices": [], "usage": USAGE, "timings": TIMINGS}
    return b"".join(
        [
            event({"role": "assistant", "content": None}),
            *(event(delta) for delta in deltas),
            event(finish=finish),
            b"data: " + json.dumps(closing).encode() + b"\n\n",
            b"data: [DONE]\n\n",
        ]
    )


def lines_of(body, chat=True, cuts=()):
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    lines = Lines(form(chat), load_ns=5)
    said = b"".join(lines.feed(body[begin:end]) for begin, end in pairwise(edges))
    return said + lines.close()


def read(ndjson):
    assert ndjson.endswith(b"\n")
    return [json.loads(line) for line in ndjson.splitlines()]


def call(index, **function):
    return {"tool_calls": [{"index": index, "function": function}]}


CALLING = (
    {
        "tool_calls": [
            {"index": 0, "id": "x", "type": "function", "function": {"name": "weather", "arguments": ""}}
        ]
    },
    call(0, arguments='{"city": '),
    call(0, arguments='"Köln"}'),
    call(1, name="time", arguments="{}"),
)


def test_a_chat_comes_in_lines_and_the_last_tells_the_figures():
    first, second, last = read(lines_of(stream({"content": "Hel"}, {"content": "lo"})))
    assert first == {
        "model": "demo:latest",
        "created_at": "1970-01-01T00:00:01.000000000Z",
        "message": {"role": "assistant", "content": "Hel"},
        "done": False,
    }
    assert second["message"]["content"] == "lo"
    assert last == {
        "model": "demo:latest",
        "created_at": "1970-01-01T00:00:01.000000000Z",
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "total_duration": 400,
        "load_duration": 5,
        "prompt_eval_count": 7,
        "prompt_eval_duration": 1_500_000,
        "eval_count": 2,
        "eval_duration": 2_250_000,
    }


def test_generate_says_response_instead_of_message():
    first, last = read(lines_of(stream({"content": "Hi", "reasoning_content": "hm"}), chat=False))
    assert (first["response"], first["thinking"], first["done"]) == ("Hi", "hm", False)
    assert (last["response"], last["done"]) == ("", True)
    assert "message" not in first | last


def test_thinking_is_told_apart():
    thought, said, _ = read(lines_of(stream({"reasoning_content": "hm"}, {"content": "Hi"})))
    assert thought["message"] == {"role": "assistant", "content": "", "thinking": "hm"}
    assert said["message"] == {"role": "assistant", "content": "Hi"}


def test_a_tool_call_in_fragments_becomes_one_with_its_arguments_as_an_object():
    called, last = read(lines_of(stream(*CALLING, finish="tool_calls")))
    assert called["message"]["tool_calls"] == [
        {"id": "x", "function": {"index": 0, "name": "weather", "arguments": {"city": "Köln"}}},
        {"function": {"index": 1, "name": "time", "arguments": {}}},
    ]
    assert called["done"] is False
    assert last["done_reason"] == "stop"


@pytest.mark.parametrize("arguments", ['{"city": "Kö', '"text"', "[1]"])
def test_a_call_that_was_cut_off_is_shown_as_the_text_it_is(arguments):
    shown, last = read(lines_of(stream(call(0, name="weather", arguments=arguments), finish="length")))
    assert shown["message"] == {"role": "assistant", "content": "weather" + arguments}
    assert last["done_reason"] == "length"


def test_log_probabilities_come_with_their_line():
    content = [
        {
            "id": 1,
            "token": "a",
            "bytes": [97],
            "logprob": -0.5,
            "top_logprobs": [{"token": "b", "logprob": -2}],
        }
    ]
    choice = {"delta": {"content": "a"}, "logprobs": {"content": content}, "finish_reason": "stop"}
    first, _ = read(lines_of(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"))
    (one,) = first["logprobs"]
    assert (one["token"], one["logprob"], one["top_logprobs"]) == ("a", -0.5, [{"token": "b", "logprob": -2}])


def test_a_completion_and_what_fills_a_gap_read_as_a_chat_does():
    completion = [
        {"choices": [{"text": "Hi", "finish_reason": None}]},
        {"choices": [{"text": "", "finish_reason": "length"}]},
    ]
    infill = [{"content": "Hi", "stop": False}, {"content": "", "stop": True, "stop_type": "limit"}]
    for documents in (completion, infill):
        body = b"".join(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents)
        first, last = read(lines_of(body, chat=False))
        assert (first["response"], last["done_reason"]) == ("Hi", "length")


SPOKEN = st.text(
    alphabet=st.characters(blacklist_categories=["Cs"]) | st.sampled_from('\u2028\u0085\x0b"\\{}😀ß')
)
DELTAS = st.lists(
    st.builds(lambda text: {"content": text}, SPOKEN)
    | st.builds(lambda text: {"reasoning_content": text}, SPOKEN)
    | st.builds(lambda index, text: call(index, name="f", arguments=text), st.integers(0, 2), SPOKEN)
    | st.sampled_from(CALLING),
    max_size=6,
)


@given(DELTAS, st.lists(st.integers(0, 5000), max_size=12), st.booleans())
def test_however_the_bytes_are_cut_the_lines_are_the_same(deltas, cuts, chat):
    body = stream(*deltas)
    whole_stream = lines_of(body, chat)
    assert lines_of(body, chat, cuts) == whole_stream
    assert read(whole_stream)[-1]["done"] is True
    text = "".join(delta.get("content", "") for delta in deltas)
    said = "".join(line["message"]["content"] if chat else line["response"] for line in read(whole_stream))
    assert said.startswith(text)


def test_a_stream_byte_by_byte_cuts_every_character_and_loses_none():
    body = stream({"content": "ß→😀"})
    assert lines_of(body, cuts=range(len(body))) == lines_of(body)
    assert read(lines_of(body))[0]["message"]["content"] == "ß→😀"


def test_no_character_of_the_model_ends_a_line_for_any_client():
    said = lines_of(stream({"content": "a\u2028b\x85c\x0bd\ne"}))
    assert said.isascii()
    assert len(said.decode().splitlines()) == 2


def test_comments_and_other_line_ends_are_passed_over():
    body = (
        b": ping\n\nevent: x\nid: 3\n\n" + stream({"content": "Hi"}).replace(b"\n", b"\r\n") + b": ping\n\n"
    )
    assert lines_of(body) == lines_of(stream({"content": "Hi"}))


@pytest.mark.parametrize(
    "failure",
    [
        b'data: {"error": {"code": 500, "message": "disk"}}\n\n',
        b'event: error\ndata: {"error": "disk"}\n\n',
        b'error: {"code": 500, "message": "disk"}\n\n',
    ],
)
def test_an_error_of_the_engines_is_the_last_line(failure):
    body = event({"content": "Hi"}) + failure + event({"content": "more"}) + event(finish="stop")
    said, error = read(lines_of(body))
    assert said["message"]["content"] == "Hi"
    assert error == {"error": "disk"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        event({"content": "Hi"}),
        b"data: {\n\n",
        b"data: 5\n\n",
        b"data: \xff\n\n",
        b"data: " + b"x" * (17 << 20),
        event({"content": "Hi"}) + b"data: [DONE]\n\n",
    ],
    ids=["nothing", "half", "cut JSON", "no object", "no text", "endless", "no reason"],
)
def test_a_stream_that_is_not_whole_never_ends_as_if_it_were(body):
    last = read(lines_of(body))[-1]
    assert list(last) == ["error"]


KEYS = (
    *(
        "choices",
        "delta",
        "message",
        "content",
        "text",
        "tool_calls",
        "function",
        "arguments",
        "name",
        "index",
    ),
    *("logprobs", "finish_reason", "usage", "timings", "prompt_n", "prompt_ms", "stop", "error", "data"),
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(ANY, max_size=4), st.booleans())
def test_no_answer_of_a_strange_shape_breaks_the_reader(documents, chat):
    body = b"".join(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents)
    read(lines_of(body, chat))
    for document in documents:
        text = json.dumps(document).encode()
        assert engine_error(text)
        try:
            json.dumps(whole(form(chat), 0, text))
            embeddings(text)
        except ServingError as error:
            assert error.what


def test_a_whole_answer_is_one_document_with_calls_and_figures():
    message = {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": []}
    message["tool_calls"] = [
        {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    ]
    body = {
        "choices": [{"finish_reason": "tool_calls", "message": message}],
        "usage": USAGE,
        "timings": TIMINGS,
    }
    answer = whole(form(), 5, json.dumps(body).encode())
    assert answer["message"] == {
        "role": "assistant",
        "content": "",
        "thinking": "hm",
        "tool_calls": [{"id": "x", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}],
    }
    assert (answer["done"], answer["eval_count"], answer["load_duration"]) == (True, 2, 5)


def test_what_an_upstream_does_not_measure_is_left_out():
    choice = {"finish_reason": "stop", "message": {"content": "Hi"}}
    answer = whole(form(), 0, json.dumps({"choices": [choice], "usage": USAGE}).encode())
    assert answer["eval_count"] == 2
    assert not {"eval_duration", "prompt_eval_duration"} & set(answer)


def test_cached_tokens_count_as_read_where_only_the_timings_tell():
    choice = {"finish_reason": "stop", "text": "Hi"}
    answer = whole(form(chat=False), 0, json.dumps({"choices": [choice], "timings": TIMINGS}).encode())
    assert (answer["prompt_eval_count"], answer["eval_count"]) == (7, 2)


def test_vectors_come_in_the_order_of_the_inputs_and_keep_length_one_when_shortened():
    rows = [{"index": 1, "embedding": [0.0, 1.0]}, {"index": 0, "embedding": [0.6, 0.8]}]
    vectors, count = embeddings(json.dumps({"data": rows, "usage": {"prompt_tokens": 4}}).encode())
    assert (vectors, count) == ([[0.6, 0.8], [0.0, 1.0]], 4)
    assert shortened([0.6, 0.8], 1) == [1.0]
    assert shortened([0.0, 1.0], 1) == [0.0]
    for whole_length in (None, 0, 2, 9):
        assert shortened([0.6, 0.8], whole_length) == [0.6, 0.8]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "no", "code": 400}}', "no"),
        (b'{"error": "no"}', "no"),
        (b"plain text", "plain text"),
        (b"", "the engine gave no reason"),
        (b'{"error": {}}', "the engine gave no reason"),
    ],
)
def test_an_error_is_told_in_the_engines_words(body, said):
    assert engine_error(body) == said


def test_a_prompt_beyond_the_context_is_known_as_such():
    assert is_too_long(b'{"error": {"type": "exceed_context_size_error", "n_ctx": 4096}}')
    assert not is_too_long(b'{"error": {"type": "invalid_request_error"}}')


@given(st.integers(0, 2**62))
def test_times_are_rfc3339_with_nanoseconds(at_ns):
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", rfc3339(at_ns))
