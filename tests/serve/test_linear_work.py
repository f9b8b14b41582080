"""What a request makes the event loop do grows with its size, and no faster: all others wait meanwhile."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from sixgig.engines import ModelCard, ModelSpec
from sixgig.errors import SixgigError
from sixgig.gateway import faults, usage
from sixgig.gateway.answer import RefusedError
from sixgig.gateway.call import Call, parse_body
from sixgig.gateway.grammars import _digest, grammars_in
from sixgig.gateway.limits import check_limits
from sixgig.gateway.pieces import EventCutter
from sixgig.grammars.bounds import impossible_grammar, impossible_schema, without_token_names
from sixgig.router import Gate, output_count
from sixgig.server.bodies import check_content, check_length, check_size
from sixgig.server.completing import CompletedStream
from sixgig.server.cors import OriginGate, preflight_headers
from sixgig.server.credentials import secret_in
from sixgig.server.hosts import HostGate
from sixgig.server.ollama_answers import Form, Lines
from sixgig.server.ollama_fields import ChatRequest, parse
from sixgig.server.ollama_requests import chat_request
from sixgig.server.shapes import error_body, error_event
from sixgig.settings.durations import parse_duration
from sixgig.settings.origins import parse_authority, parse_origin

# Four times the input may take ten times as long, and what a busy machine adds; the square would be sixteen.
FEW_BYTES, TIMES, MOST_TIMES, FLOOR_S = 8_000, 4, 10, 0.03
PIECE_BYTES = 16
UNITS = (
    *("{", "{ ", "{ 1 ", "{1,", " ", "\t", '"', '\\"', "\\", "[", "[^", "<", "<a", "#", "(", "a", "-"),
    *(".", ",", "1", "1h", "1m", "a,", "a , ", "[]", "\n", "\r\n", "data:", '"usage"', '"message": "', "="),
    *(";", ":", "é", "\x00", "^", "{1,2}", "%41", "://", "charset=", "\udc80", "&"),
)
CARD = ModelCard(
    spec=ModelSpec("m", Path("m.gguf")),
    architecture="llama",
    size_bytes=1,
    n_parameters=1,
    file_type="F16",
    context=1 << 20,
    trained_context=1 << 20,
    ubatch=512,
    pooling=None,
    modified_ns=0,
    whole_bytes=1,
    paged_bytes=None,
    chat_template=None,
)


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def body(text: str) -> bytes:
    """A request that says it everywhere."""
    schema = {"type": "object", "description": text, "properties": {text: {"pattern": text, "enum": [text]}}}
    function = {"name": "f", "description": text, "parameters": schema}
    tools = [{"type": "function", "function": function}]
    messages = [{"role": "user", "content": text}]
    return json.dumps({"model": "m", "messages": messages, "tools": tools, "grammar": text}).encode()


def fed(feed: Callable[[bytes], object], text: str) -> None:
    """In small pieces, as a network may bring them."""
    bytes_ = raw(text)
    for at in range(0, len(bytes_), PIECE_BYTES):
        feed(bytes_[at : at + PIECE_BYTES])


def limits(text: str) -> None:
    call = Call("openai", "/v1/chat/completions", body(text), "m", False)
    _digest(list(grammars_in(call.path, check_limits(call, CARD))))
    output_count("chat/completions", call.fields)


def privacy(text: str) -> None:
    Gate(True, frozenset({"x"}), {"k": None}).check("id", ("m",), "k", (text,))


def events(text: str) -> None:
    bytes_ = raw(text)
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions"):
        stream = CompletedStream(Call("openai", path, b"{}", "m", True))
        for at in range(0, len(bytes_), PIECE_BYTES):
            stream.feed(bytes_[at : at + PIECE_BYTES])
        stream.close()


def headers(text: str) -> None:
    named = [(name, raw(text)) for name in (b"content-type", b"origin", b"access-control-request-headers")]
    for found in (
        named,
        [*named, (b"authorization", raw("Basic " + text))],
        [(b"content-length", raw(text))],
    ):
        given = Headers(raw=found)
        preflight_headers(given)
        secret_in(given, "/")
        for check, arguments in (
            (check_content, ("POST", "/v1/x", given)),
            (check_length, (given, 1 << 20)),
            (OriginGate(("https://a.example",)).check, (given, parse_authority("localhost"))),
            (HostGate("127.0.0.1", ()).check, ([text], "127.0.0.1")),
        ):
            with contextlib.suppress(SixgigError):
                check(*arguments)


def answers(text: str) -> None:
    fed(usage.UsageWatch(True).feed, text)
    whole = usage.UsageWatch(False)
    fed(whole.feed, text)
    assert whole.usage
    fed(Lines(Form("m", True), 0).feed, "data: " + text)
    fed(EventCutter().feed, text)


def errors(text: str) -> None:
    told = RefusedError(400, text, text, text)
    for api in ("openai", "anthropic", "responses", "ollama"):
        error_body(api, 400, told)
        error_event(api, told)
    faults._own_words(raw('data: {"error": {"message": "' + text))


WORK: dict[str, Callable[[str], object]] = {
    "a body read": lambda text: parse_body(raw(text)),
    "a body counted": lambda text: asyncio.run(check_size(raw(text))),
    "a body of Ollama's": lambda text: chat_request(parse(ChatRequest, raw(text))).body,
    "a request of Ollama's": lambda text: chat_request(parse(ChatRequest, body(text))).body,
    "limits": limits,
    "impossible grammars": impossible_grammar,
    "tokens of a grammar": without_token_names,
    "impossible schemas": lambda text: impossible_schema({"pattern": text, "properties": {text: {}}}),
    "privacy": privacy,
    "events": events,
    "headers": headers,
    "answers": answers,
    "errors": errors,
    "durations": parse_duration,
    "authorities": parse_authority,
    "origins": parse_origin,
}


@pytest.mark.parametrize("name", WORK)
def test_work_grows_no_faster_than_its_input(name: str) -> None:
    chance = random.Random(name)
    mixed = ["".join(chance.choices(UNITS, k=chance.randint(2, 5))) for _ in range(12)]
    begun = [(chance.choice(UNITS), chance.choice(UNITS)) for _ in range(24)]
    for prefix, unit in (("{", " "), *begun, *(("", unit) for unit in (*UNITS, *mixed))):
        _require_linear(WORK[name], prefix, unit, FEW_BYTES)


@pytest.mark.parametrize("name", ["events", "answers"])
@pytest.mark.parametrize("unit", ["a", '"usage"', "\r", "data: "])
def test_streams_without_an_end_take_no_longer_for_coming_in_small_pieces(name: str, unit: str) -> None:
    _require_linear(WORK[name], "", unit, 100_000)


def _require_linear(work: Callable[[str], object], prefix: str, unit: str, n_bytes: int) -> None:
    few = unit * (n_bytes // len(raw(unit)) + 1)
    most_s = FLOOR_S + MOST_TIMES * _taken_s(work, prefix + few)
    taken_s = min(_taken_s(work, prefix + few * TIMES) for _ in range(2))
    assert taken_s < most_s, f"{prefix!r} and {TIMES * n_bytes} bytes of {unit!r}: {taken_s:.3f} s"


def _taken_s(work: Callable[[str], object], text: str) -> float:
    began_s = time.thread_time()
    with contextlib.suppress(SixgigError, ValueError):
        work(text)
    return time.thread_time() - began_s


@pytest.mark.parametrize("values", ["[],", "1,", '"",', '{"a":1},', '{"a":[1]},', "1e5,", "null,"])
def test_what_may_hold_everybody_up_is_refused_unread(values: str) -> None:
    """Four megabytes of it would take a third of a second."""
    text = '{"a": [' + values * ((4 << 20) // len(values)) + "1]}"
    with pytest.raises(SixgigError, match="too many values"):
        asyncio.run(check_size(text.encode()))


def test_long_texts_are_no_values() -> None:
    text = json.dumps({"messages": [{"role": "user", "content": '{"a": [1, 2, {"b": []}]}, ' * 100_000}]})
    asyncio.run(check_size(text.encode()))


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    with pytest.raises(SixgigError, match="digits"):
        parse_body(b'{"a": ' + b"9" * 4000 + b"}")
    assert parse_body(b'{"a": ' + b"9" * 300 + b"}")
