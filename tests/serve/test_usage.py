"""What an answer says of itself, read as it passes."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.gateway.usage import Usage, UsageWatch

TIMINGS = {"cache_n": 2, "prompt_n": 10, "prompt_ms": 250.0, "predicted_n": 3, "predicted_ms": 500.0}


def events(*documents: object, end: str = "data: [DONE]\n\n") -> bytes:
    return ("".join(f"data: {json.dumps(d)}\n\n" for d in documents) + end).encode()


CHAT = events({"choices": [{"delta": {"content": "é"}}]}, {"choices": [{"delta": {}}], "timings": TIMINGS})
MESSAGES = (
    b"event: message_start\n"
    + events({"message": {"usage": {"cache_read_input_tokens": 4, "input_tokens": 8}}}, end="")
    + b"event: message_delta\n"
    + events({"type": "message_delta", "usage": {"output_tokens": 5}}, end="")
    + b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
RESPONSES = events(
    {"type": "response.completed", "response": {"usage": {"input_tokens": 12, "output_tokens": 4}}}, end=""
)


def watched(body: bytes, streamed: bool, cuts: list[int] | None = None) -> UsageWatch:
    watch, places = UsageWatch(streamed), [0, *sorted(cuts or []), len(body)]
    for start, end in itertools.pairwise(places):
        watch.feed(body[start:end])
    return watch


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (CHAT, (12, 2, 3)),
        (MESSAGES, (12, 4, 5)),
        (RESPONSES, (12, None, 4)),
        (events({"usage": {"prompt_tokens": 7, "completion_tokens": 0}}), (7, None, 0)),
    ],
    ids=["chat", "messages", "responses", "asked for"],
)
def test_each_protocol_says_it_in_its_own_way(body: bytes, expected: tuple[int | None, ...]) -> None:
    usage = watched(body, streamed=True).usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == expected


@given(st.sampled_from([CHAT, MESSAGES, RESPONSES]), st.lists(st.integers(0, 600), max_size=12))
def test_where_the_pieces_are_cut_does_not_matter(body: bytes, cuts: list[int]) -> None:
    cuts = [min(cut, len(body)) for cut in cuts]
    assert watched(body, True, cuts).usage == watched(body, True).usage


def test_the_engines_own_clock_is_kept() -> None:
    usage = watched(CHAT, streamed=True).usage
    assert (usage.prefill_s, usage.decode_s) == (0.25, 0.5)


def test_a_whole_body_is_read_at_its_end() -> None:
    body = json.dumps({"usage": {"prompt_tokens": 3, "completion_tokens": 9}, "choices": []}).encode()
    usage = watched(body, streamed=False, cuts=[5, 9]).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 9)
    assert usage.reported == {"prompt_tokens": 3, "completion_tokens": 9}


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -1, "completion_tokens": True},
        {"prompt_tokens": "many", "completion_tokens": 1.5},
        {"prompt_tokens": 1 << 60, "prompt_tokens_details": [], "completion_tokens": None},
    ],
)
def test_nonsense_counts_as_not_told(usage: dict[str, object]) -> None:
    found = watched(json.dumps({"usage": usage}).encode(), streamed=False).usage
    assert (found.prompt_tokens, found.completion_tokens) == (None, None)


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_upset_it(body: bytes, streamed: bool) -> None:
    assert isinstance(watched(b'data: {"usage": ' + body + b"\n\n" + body, streamed).usage, Usage)


def test_a_line_without_end_is_not_kept() -> None:
    watch = UsageWatch(streamed=True)
    for _ in range(40):
        watch.feed(b"x" * 100_000)
    assert watch.usage == Usage() and watch._lines.n_bytes <= 1 << 20
