"""Errors as each API's own clients read them, whoever made them: the engine, the gateway, the doors."""

import httpx
import pytest

from sixgig.gateway.answer import TooLongError
from sixgig.server.shapes import error_body, error_event, passed_error
from tests.serve.gateways import CHATS, house
from tests.serve.loops import in_loop

FEW_BYTES, MANY_BYTES = "word " * 8000, "word " * 160_000  # the engine counts the first
ASKED = {
    "/v1/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}]},
    "/v1/completions": lambda text: {"prompt": text},
    "/v1/responses": lambda text: {"input": text},
    "/v1/messages": lambda text: {"messages": [{"role": "user", "content": text}], "max_tokens": 3},
    "/api/chat": lambda text: {"messages": [{"role": "user", "content": text}]},
}


@pytest.mark.parametrize("text", [FEW_BYTES, MANY_BYTES], ids=("counted", "unread"))
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ASKED)
def test_a_prompt_longer_than_the_context_is_refused_in_the_words_that_clients_look_for(
    served, path, stream, text
):
    context = httpx.get(f"{served.url}/v1/models/demo").json()["context_length"]
    answer = httpx.post(
        served.url + path, json={"model": "demo", "stream": stream, **ASKED[path](text)}, timeout=60
    )
    assert answer.status_code == 400
    error = answer.json()["error"]
    if path == "/v1/messages":
        assert answer.json()["type"] == "error" and error["type"] == "invalid_request_error"
        _, n_prompt_tokens, _, n_context = _numbers(
            error["message"], "prompt is too long: {} tokens > {} maximum"
        )
        assert n_prompt_tokens >= n_context == context
    elif path == "/api/chat":
        assert f"exceeds the available context size ({context} tokens)" in error
    else:
        assert f"exceeds the available context size ({context} tokens)" in error["message"]
        assert (error["type"], error["code"], error["n_ctx"]) == ("exceed_context_size_error", 400, context)
        assert error["n_prompt_tokens"] >= context


def _numbers(said, pattern):
    """The words around and the numbers in."""
    before, between, after = pattern.split("{}")
    assert said.startswith(before) and said.endswith(after)
    first, second = said.removeprefix(before).removesuffix(after).split(between)
    return before, int(first), between, int(second)


JSON = {"content-type": "application/json"}
WRONG = {
    "the engine's": lambda url: httpx.post(
        f"{url}/v1/messages", json={"model": "demo", "messages": [{"role": "user", "content": 5}]}
    ),
    "the engine's, of a count": lambda url: httpx.post(
        f"{url}/v1/messages/count_tokens", json={"model": "demo"}
    ),
    "no JSON": lambda url: httpx.post(f"{url}/v1/messages", content=b"{", headers=JSON),
    "no such model": lambda url: httpx.post(f"{url}/v1/messages", json={"model": "x", "messages": []}),
    "a limit": lambda url: httpx.post(f"{url}/v1/messages", json={"model": "demo", "repeat_last_n": 1 << 30}),
    "no JSON's name": lambda url: httpx.post(f"{url}/v1/messages", content=b"{}"),
    "too large": lambda url: httpx.post(f"{url}/v1/messages", content=b" " * (2 << 20), headers=JSON),
    "another host": lambda url: httpx.post(f"{url}/v1/messages", json={}, headers={"host": "evil.test"}),
    "another site": lambda url: httpx.post(
        f"{url}/v1/messages", json={}, headers={"origin": "http://e.test"}
    ),
    "no such method": lambda url: httpx.get(f"{url}/v1/messages"),
    "no such path": lambda url: httpx.post(f"{url}/v1/messages/batches", json={}),
    "no such model to tell of": lambda url: httpx.get(
        f"{url}/v1/models/x", headers={"anthropic-version": "2023-06-01"}
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_every_error_of_anthropics_api_has_anthropics_shape(served, wrong):
    answer = WRONG[wrong](served.url)
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"].startswith("application/json")
    said = answer.json()
    assert said.keys() == {"type", "error"} and said["type"] == "error"
    assert said["error"].keys() == {"type", "message"} and len(said["error"]["message"]) > 8


ENGINES = [
    (b'{"error":{"code":400,"message":"no","type":"invalid_request_error"}}', "no"),
    (b"<html>", "<html>"),
    (b"", ""),
    (b"[1]", "[1]"),
    (b'{"error":"text"}', '{"error":"text"}'),
    (
        b'{"error":{"message":"x","type":"exceed_context_size_error"}}',
        "prompt is too long: None tokens > None",
    ),
    (b"[" * 100_000, "[[[["),
]


@pytest.mark.parametrize(("body", "words"), ENGINES)
def test_an_engines_error_of_any_shape_gets_anthropics(body, words):
    said = httpx.Response(400, content=passed_error("anthropic", 400, body)).json()
    assert said["error"]["type"] == "invalid_request_error" and said["error"]["message"].startswith(words)
    assert passed_error("openai", 400, body) == body
    once = passed_error("anthropic", 400, body)
    assert passed_error("anthropic", 400, once) == once


@pytest.mark.parametrize("api", CHATS)
def test_an_over_long_prompt_is_told_alike_in_a_body_and_in_an_event(api):
    error = TooLongError(9000, 8192, "it has 576000 bytes")
    body, event = error_body(api, 400, error), error_event(api, error)
    words = (
        b"prompt is too long: 9000" if api == "anthropic" else b"request (9000 tokens) exceeds the available"
    )
    assert words in body and words in event


@pytest.mark.parametrize("api", CHATS)
@in_loop
async def test_a_fault_of_our_own_is_told_in_the_apis_shape(tmp_path, api, monkeypatch):
    async with house(tmp_path) as home:

        def broken(*_call):
            raise ZeroDivisionError

        monkeypatch.setattr(home.gateway.exchange._dispatch, "answer", broken)
        visit = home.chat(api)
        with pytest.raises(ZeroDivisionError):  # uvicorn logs it
            await visit.task
        error = visit.json["error"]
        assert visit.status == 500 and visit.headers["x-should-retry"] == "false"
        assert "the server failed" in (error if api == "ollama" else error["message"])
        assert ("type" in visit.json) == (api == "anthropic")
