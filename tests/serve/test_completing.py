"""Streams completed to what their APIs document, byte for byte where nothing is missing."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.gateway.call import Call
from sixgig.gateway.pieces import LONGEST_EVENT
from sixgig.server.completing import CompletedStream
from tests.serve.scripted_engine import MODEL, SPOKEN, ToolCall

PATHS = {"/v1/responses": "responses", "/v1/messages": "anthropic", "/v1/chat/completions": "openai"}
WORDS, CALL = "Copied: \u2603 \U0001f600.", ToolCall("look", {"where": "here"})


def streamed(path, step):
    """As the engine answers."""
    return b"".join(SPOKEN[path][1](step, "0" * 32, {}))


def completed(path, said, *cuts):
    stream = CompletedStream(Call(PATHS.get(path, "openai"), path, b"{}", MODEL, True, id="c" * 24))
    edges = [0, *sorted(cuts), len(said)]
    pieces = [said[start:end] for start, end in itertools.pairwise(edges)]
    return b"".join(map(stream.feed, pieces)) + stream.close()


def events(said):
    lines = said.replace(b"\r", b"").split(b"\n")
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]


def kinds(said):
    return [event["type"].removeprefix("response.") for event in events(said)]


def event(said, **fields):
    document = {"type": said, **fields}
    return f"event: {said}\ndata: {json.dumps(document, ensure_ascii=False)}\n\n".encode()


CREATED = event("response.created", response={"id": "resp_1", "object": "response", "status": "in_progress"})
ITEM = {"type": "message", "id": "m", "role": "assistant", "status": "in_progress", "content": []}
ADDED = event("response.output_item.added", item=ITEM)
PART = event("response.content_part.added", item_id="m", part={"type": "output_text", "text": ""})


def delta(text):
    return event("response.output_text.delta", item_id="m", delta=text)


def text_done(text):
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    item = ITEM | {"status": "completed", "content": [part]}
    return (
        event("response.output_text.done", item_id="m", text=text)
        + event("response.content_part.done", item_id="m", part=part)
        + event("response.output_item.done", item=item)
        + event("response.completed", response={"id": "resp_1", "status": "completed", "output": [item]})
    )


@pytest.mark.parametrize("step", [WORDS, CALL], ids=("words", "call"))
def test_every_event_of_a_response_says_where_it_belongs(step):
    told = events(completed("/v1/responses", streamed("/v1/responses", step)))
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    for event in told:
        kind = event["type"].removeprefix("response.")
        if kind in ("created", "in_progress"):
            assert event["response"]["output"] == []
        elif kind != "completed":
            assert event["output_index"] == 0
        if kind.startswith(("content_part", "output_text")):
            assert event["content_index"] == 0
        if kind.startswith("output_text"):
            assert event["logprobs"] == []
        if kind == "content_part.added":
            assert event["part"]["annotations"] == []


@pytest.mark.parametrize("step", [WORDS, CALL], ids=("words", "call"))
@pytest.mark.parametrize("path", PATHS)
def test_what_the_engine_wrote_stays_in_its_order(path, step):
    said = streamed(path, step)
    told = iter(events(completed(path, said)))
    for event in events(said):
        assert any(event.items() <= other.items() or _grown(event, other) for other in told), event


def _grown(event, other):
    """Whether another event says the same and more, at any depth."""
    if not isinstance(event, dict) or not isinstance(other, dict):
        return event == other
    return all(name in other and _grown(value, other[name]) for name, value in event.items())


@pytest.mark.parametrize("step", [WORDS, CALL], ids=("words", "call"))
@pytest.mark.parametrize("path", PATHS)
def test_a_complete_stream_passes_byte_for_byte(path, step):
    once = completed(path, streamed(path, step))
    assert completed(path, once) == once


@given(st.sampled_from(list(PATHS)), st.sampled_from([WORDS, CALL]), st.data())
def test_where_the_stream_is_cut_changes_nothing(path, step, data):
    said = streamed(path, step)
    cuts = data.draw(st.lists(st.integers(0, len(said)), max_size=9))
    assert completed(path, said, *cuts) == completed(path, said)


@given(st.sampled_from([*PATHS, "/v1/completions"]), st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_what_is_no_event_passes_byte_for_byte(path, said, cuts):
    assert completed(path, said, *(min(cut, len(said)) for cut in cuts)) == said


UNKNOWN = [
    b": a comment\n\n",
    b"data: [DONE]\n\n",
    b"event: x\ndata: {broken}\n\n",
    b'data: {"type":"response.new_thing","item_id":"m"}\n\n',
    b'data: {"type":"response.output_text.delta",\ndata: "item_id":"m","delta":"x"}\r\n\r\n',
    b'event: error\ndata: {"type":"error","message":"no"}\n\n',
    b'data: {"error":{"message":"no"}}\n\n',
    b"data: " + b"[" * 5000 + b"\n\n",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("said", UNKNOWN, ids=repr)
def test_an_event_of_an_unknown_kind_passes_byte_for_byte(path, said):
    assert completed(path, CREATED + said).endswith(said)


@pytest.mark.parametrize("path", PATHS)
def test_an_endless_event_is_passed_on_and_not_kept(path):
    stream = CompletedStream(Call("openai", path, b"{}", MODEL, True))
    went, piece = 0, b"x" * 65536
    for n in range(1, 41):
        went += len(stream.feed(piece))
        assert n * len(piece) - went <= LONGEST_EVENT + len(piece)
    assert went + len(stream.close()) == 40 * len(piece)


@pytest.mark.parametrize("path", PATHS)
def test_an_event_that_comes_byte_by_byte_costs_no_more_than_its_length(path):
    said = b"data: " + b"y" * 200_000 + b"\n\n"
    assert completed(path, said, *range(len(said))) == said


def test_a_response_whose_first_token_is_half_a_character_begins_once():
    """The engine then says that it begins with each token (seen with an emoji)."""
    again = CREATED + event("response.in_progress", response={"id": "resp_1", "status": "in_progress"})
    said = again + ADDED + PART + delta("\U0001f600") + again + delta("a") + again + text_done("\U0001f600a")
    assert kinds(completed("/v1/responses", said)) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip


def test_a_response_that_is_known_only_at_its_end_gets_a_beginning():
    told = events(completed("/v1/responses", text_done("x")))
    assert [event["type"].removeprefix("response.") for event in told] == [
        "created", "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert {told[0]["response"]["id"], told[-1]["response"]["id"]} == {"resp_1"}
    assert [event["sequence_number"] for event in told] == list(range(8))


def test_a_texts_last_words_that_no_piece_brought_are_brought_before_its_end():
    told = events(
        completed("/v1/responses", CREATED + ADDED + PART + delta("a \u2603") + text_done("a \u2603 <too"))
    )
    pieces = [event["delta"] for event in told if event["type"].endswith("text.delta")]
    assert pieces == ["a \u2603", " <too"]


def test_a_call_that_is_known_only_at_its_end_gets_a_beginning():
    item = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "look",
        "arguments": '{"a":1}',
    }
    told = events(completed("/v1/responses", CREATED + event("response.output_item.done", item=item)))
    assert [event["type"].removeprefix("response.") for event in told[1:]] == [
        "output_item.added", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
    ]  # fmt: skip
    assert told[1]["item"] == item | {"arguments": "", "status": "in_progress"}
    assert {event["output_index"] for event in told[1:]} == {0}


def test_thoughts_words_and_calls_have_places_of_their_own():
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": ""}
    thoughts = event("response.reasoning_text.delta", item_id="r", delta="hm")
    said = (
        CREATED
        + event("response.output_item.added", item={"type": "reasoning", "id": "r"})
        + thoughts
        + ADDED
        + PART
    )
    said += delta("x") + event("response.output_item.added", item=call)
    told = events(completed("/v1/responses", said + text_done("x")))
    places = {}
    for event_ in told:
        id_ = event_.get("item_id") or event_.get("item", {}).get("id")
        places.setdefault(id_, set()).add(event_.get("output_index"))
    assert places == {None: {None}, "r": {0}, "m": {1}, "fc_1": {2}}
    part = next(event_ for event_ in told if event_.get("part", {}).get("type") == "reasoning_text")
    assert part["type"] == "response.content_part.added"


def test_fields_that_the_engine_writes_are_left_alone():
    own = event(
        "response.output_text.delta", item_id="m", delta="x", output_index=7, content_index=3, logprobs=[1]
    )
    said = CREATED + ADDED + PART + own
    told = events(completed("/v1/responses", said))[-1]
    assert (told["output_index"], told["content_index"], told["logprobs"]) == (7, 3, [1])


def test_a_message_whose_first_token_is_half_a_character_begins_all_the_same():
    whole = streamed("/v1/messages", WORDS)
    rest = whole[whole.index(b"event: content_block_start") :]
    told = completed("/v1/messages", b'event: ping\ndata: {"type":"ping"}\n\n' + rest)
    assert kinds(told)[:3] == ["ping", "message_start", "content_block_start"]
    begun = events(told)[1]["message"]
    assert (begun["id"], begun["model"], begun["content"]) == ("msg_" + "c" * 24, MODEL, [])
    assert told.endswith(rest)


def test_a_block_starts_once_and_with_all_its_fields():
    start = event(
        "content_block_start", index=0, content_block={"type": "tool_use", "id": "t", "name": "look"}
    )
    said = event("message_start", message={}) + start + start
    told = events(completed("/v1/messages", said))
    assert len(told) == 2
    assert told[1]["content_block"] == {"type": "tool_use", "id": "t", "name": "look", "input": {}}


def test_a_chats_first_piece_says_whose_it_is():
    def piece(**words):
        return (
            b"data: "
            + json.dumps({"choices": [{"index": 0, "delta": words}]}, separators=(",", ":")).encode()
            + b"\n\n"
        )

    said = piece(content="\u2603") + piece(content="x") + b"data: [DONE]\n\n"
    told = completed("/v1/chat/completions", said)
    first, second = events(told)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "\u2603"}
    assert second["choices"][0]["delta"] == {"content": "x"}
    kept = piece(role="assistant", content=None) + said
    assert completed("/v1/chat/completions", kept) == kept


def test_a_broken_stream_of_responses_ends_with_the_next_number():
    stream = CompletedStream(Call("responses", "/v1/responses", b"{}", MODEL, True))
    stream.feed(CREATED + ADDED)
    assert stream.sequence_number == 2
