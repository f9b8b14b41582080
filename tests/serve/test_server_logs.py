"""Logs: one event a line whatever a client sends, and no word of prompts unless the owner asks."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import UsageError
from sixgig.gateway import logs
from sixgig.gateway.logs import RequestLine

LINE = RequestLine(
    id="1f", key="laptop", model="m", path="/v1/x", served_by="local", status=200, outcome="done",
    input_tokens=3, output_tokens=4, seconds=1.23456789, queue_s=0.5, first_token_s=None,
)  # fmt: skip


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The loggers as they were: other tests watch them."""
    loggers = [
        logging.getLogger(name)
        for name in ("sixgig.server", "uvicorn", "uvicorn.access", "sixgig.server.texts")
    ]
    before = [(lg, lg.handlers, lg.propagate, lg.level, lg.disabled) for lg in loggers]
    yield
    for lg, handlers, propagate, level, disabled in before:
        lg.handlers, lg.propagate, lg.disabled = handlers, propagate, disabled
        lg.setLevel(level)


def started(**options: bool) -> io.StringIO:
    stream = io.StringIO()
    logs.start(stream, **options)  # type: ignore[arg-type]
    return stream


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_request_is_one_line_of_json() -> None:
    stream = started()
    logs.request(LINE)
    told = json.loads(stream.getvalue())
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "level": "info", "event": "request", "id": "1f", "key": "laptop", "model": "m", "path": "/v1/x",
        "served_by": "local", "status": 200, "outcome": "done", "input_tokens": 3, "output_tokens": 4,
        "seconds": 1.234568, "queue_s": 0.5, "first_token_s": None,
    }  # fmt: skip


def test_a_terminal_gets_words() -> None:
    stream = Terminal()
    logs.start(stream)
    logs.request(replace(LINE, model="two words", key=None))
    words = stream.getvalue().partition(" ")[2]
    assert words.startswith(
        'request id=1f model="two words" path=/v1/x served_by=local status=200 outcome=done'
    )
    assert "key" not in words and words.endswith("seconds=1.235 queue_s=0.5\n")


def test_a_request_line_has_no_place_for_a_text() -> None:
    assert not {field.name for field in fields(RequestLine)} & {
        "prompt",
        "body",
        "answer",
        "content",
        "messages",
    }


HOSTILE = st.text(st.characters() | st.sampled_from('\n\r\t\x00\x1b"= \\\x85\u2028\u202e\ud800'), max_size=40)


@given(HOSTILE, HOSTILE)
def test_no_text_forges_a_line(model: str, path: str) -> None:
    for as_json in (True, False):
        stream = started(as_json=as_json)
        logs.request(replace(LINE, model=model, path=path))
        logs.event(model, reason=path)
        lines = stream.getvalue().splitlines()
        assert len(lines) == 2
        assert all(line.isprintable() for line in lines)
        if as_json:
            assert json.loads(lines[0])["model"] == model


def test_a_field_cannot_pose_as_another_part_of_the_line() -> None:
    stream = started()
    logs.event("real", event="forged", level=logging.WARNING, time="never")
    told = json.loads(stream.getvalue())
    assert (told["event"], told["level"]) == ("real", "warning") and told["time"] != "never"
    stream = started(as_json=False)
    logs.event("refused", reason="x status=200 key=root")
    assert 'reason="x status=200 key=root"' in stream.getvalue()


def test_a_long_text_is_cut() -> None:
    stream = started()
    logs.event("x", model="m" * 10_000)
    assert len(stream.getvalue()) < 500


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_stays_json_without_a_number(value: float) -> None:
    stream = started()
    logs.event("x", seconds=value)
    assert json.loads(stream.getvalue(), parse_constant=pytest.fail)["seconds"] is None


@pytest.mark.parametrize("log_prompts", [False, True])
def test_texts_are_told_only_where_the_owner_asks(log_prompts: bool) -> None:
    stream = started(log_prompts=log_prompts)
    logs.prompt("1f", b"my\nsecret " * 100)
    lines = stream.getvalue().splitlines()
    assert len(lines) == int(log_prompts)
    if log_prompts:
        assert json.loads(lines[0])["content"] == "my\nsecret " * 100


def test_texts_are_silent_before_the_logs_are_started(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logs.prompt("1f", b"secret")
    assert not caplog.records


@pytest.mark.parametrize("as_json", [True, False])
def test_an_exception_is_told_by_kind_and_place_without_its_words(as_json: bool) -> None:
    stream = started(as_json=as_json)
    try:
        raise ValueError("the prompt was: secret")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    told = stream.getvalue()
    assert "ValueError at " in told and "test_server_logs.py" in told
    assert "secret" not in told and len(told.splitlines()) == 1


def test_our_own_errors_keep_their_words() -> None:
    stream = started()
    try:
        raise UsageError("a thing", "1 of 2", "mend it")
    except UsageError:
        logging.getLogger("sixgig.server").exception("failed")
    assert "UsageError" in stream.getvalue() and "a thing; 1 of 2; mend it" in stream.getvalue()


def test_starting_twice_writes_once() -> None:
    started()
    stream = started()
    logs.event("x")
    assert len(stream.getvalue().splitlines()) == 1
