"""Errors in each API's shape: every real client raises its proper exception, with our message."""

import json
from collections.abc import Callable

import anthropic
import httpx
import httpx2
import ollama
import openai
import pytest

from sixgig.errors import (
    BudgetError,
    EngineError,
    EngineLostError,
    ModelFileError,
    ReadError,
    ServingError,
    SixgigError,
    UsageError,
)
from sixgig.gateway.answer import RefusedError, StreamBrokenError, status_of
from sixgig.gateway.call import Api
from sixgig.server.shapes import api_of, error_body, error_event, error_headers

APIS: tuple[Api, ...] = ("openai", "anthropic", "responses", "ollama")
ERROR = SixgigError("it is “broken”", "\n\ndata: 3 of 4\x00\u2028", "mend it")
MESSAGE = str(ERROR)
CHAT = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("path", "api"),
    [
        ("/v1/chat/completions", "openai"),
        ("/v1/messages", "anthropic"),
        ("/v1/messages/count_tokens", "anthropic"),
        ("/v1/responses", "responses"),
        ("/api/chat", "ollama"),
        ("/metrics", "openai"),
        ("/", "openai"),
    ],
)
def test_a_path_tells_whose_clients_ask(path: str, api: str) -> None:
    assert api_of(path, {}) == api


def test_anthropics_clients_are_known_under_a_path_that_two_apis_have() -> None:
    assert api_of("/v1/models/x", {}) == "openai"
    assert api_of("/v1/models/x", {"anthropic-version": "2023-06-01"}) == "anthropic"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("x"), 400),
        (RefusedError(404, "x"), 404),
        (RefusedError(421, "x"), 421),
        (ServingError("x"), 503),
        (EngineLostError("x"), 503),
        (BudgetError("x"), 507),
        (ModelFileError("x"), 500),
        (ReadError("x"), 500),
        (EngineError("x"), 500),
        (StreamBrokenError(BudgetError("x")), 507),
    ],
)
def test_an_error_has_its_status(error: SixgigError, status: int) -> None:
    assert status_of(error) == status


def test_clients_are_told_whether_to_ask_again() -> None:
    assert error_headers(ServingError("busy"))["Retry-After"] == "5"
    assert error_headers(RefusedError(429, "too many"))["Retry-After"] == "5"
    assert error_headers(BudgetError("too large"))["X-Should-Retry"] == "false"
    assert error_headers(UsageError("wrong")).keys() == {"Content-Type"}


@pytest.mark.parametrize("api", APIS)
def test_no_text_ends_an_event_or_a_line(api: Api) -> None:
    event = error_event(api, ERROR)
    assert event.isascii() and len(event.splitlines()) <= 3
    assert event.endswith(b"\n" if api == "ollama" else b"\n\n")
    assert event.rstrip(b"\n").count(b"\n") == (1 if api in ("anthropic", "responses") else 0)


def openai_client(reply: Callable[[], tuple[int, dict[str, str], bytes]]) -> openai.OpenAI:
    transport = httpx2.MockTransport(lambda _request: _response(httpx2, reply()))
    return openai.OpenAI(
        api_key="k", base_url="http://x/v1", max_retries=0, http_client=httpx2.Client(transport=transport)
    )


def anthropic_client(reply: Callable[[], tuple[int, dict[str, str], bytes]]) -> anthropic.Anthropic:
    transport = httpx2.MockTransport(lambda _request: _response(httpx2, reply()))
    return anthropic.Anthropic(
        api_key="k", base_url="http://x", max_retries=0, http_client=httpx2.Client(transport=transport)
    )


def ollama_client(reply: Callable[[], tuple[int, dict[str, str], bytes]]) -> ollama.Client:
    return ollama.Client(
        "http://x", transport=httpx.MockTransport(lambda _request: _response(httpx, reply()))
    )


def _response(package: object, reply: tuple[int, dict[str, str], bytes]) -> object:
    status, headers, body = reply
    return package.Response(status, headers=headers, content=body)  # type: ignore[attr-defined]


def whole(api: Api, status: int) -> Callable[[], tuple[int, dict[str, str], bytes]]:
    error = RefusedError(status, ERROR.what, ERROR.numbers, ERROR.cure)
    return lambda: (status, error_headers(error), error_body(api, status, error))


def stream(
    before: bytes, api: Api, error: SixgigError = ERROR
) -> Callable[[], tuple[int, dict[str, str], bytes]]:
    kind = "application/x-ndjson" if api == "ollama" else "text/event-stream"
    return lambda: (200, {"Content-Type": kind}, before + error_event(api, error))


RAISED = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "InternalServerError",
    507: "InternalServerError",
}


@pytest.mark.parametrize("status", [*RAISED, 413, 415, 421, 431])
@pytest.mark.parametrize("api", ["openai", "responses"])
def test_openai_raises_from_a_body(api: Api, status: int) -> None:
    client = openai_client(whole(api, status))
    with pytest.raises(getattr(openai, RAISED.get(status, "APIStatusError"))) as caught:
        if api == "openai":
            client.chat.completions.create(model="m", messages=CHAT)  # type: ignore[arg-type]
        else:
            client.responses.create(model="m", input="hi")
    assert MESSAGE in caught.value.message
    assert caught.value.status_code == status
    assert caught.value.type and (caught.value.code or status in (400, 415, 421, 431))


@pytest.mark.parametrize("status", [*RAISED, 413, 415, 421, 431])
def test_anthropic_raises_from_a_body(status: int) -> None:
    names = RAISED | {413: "APIStatusError"}
    with pytest.raises(getattr(anthropic, names.get(status, "APIStatusError"))) as caught:
        anthropic_client(whole("anthropic", status)).messages.create(max_tokens=9, model="m", messages=CHAT)  # type: ignore[call-overload]
    assert caught.value.api_message == MESSAGE
    assert caught.value.status_code == status


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500, 503, 507])
@pytest.mark.parametrize("streamed", [False, True])
def test_ollama_raises_from_a_body(status: int, streamed: bool) -> None:
    client = ollama_client(whole("ollama", status))
    with pytest.raises(ollama.ResponseError) as caught:
        list(client.chat("m", CHAT, stream=streamed))
    assert (caught.value.error, caught.value.status_code) == (MESSAGE, status)


def test_openai_raises_from_a_stream_under_way() -> None:
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
    client = openai_client(stream(b"data: " + json.dumps(chunk).encode() + b"\n\n", "openai"))
    pieces = iter(client.chat.completions.create(model="m", messages=CHAT, stream=True))  # type: ignore[call-overload]
    assert next(pieces).id == "1"
    with pytest.raises(openai.APIError) as caught:
        next(pieces)
    assert (caught.value.message, caught.value.type) == (MESSAGE, "server_error")


def test_openai_raises_from_responses_under_way() -> None:
    delta = {"type": "response.output_text.delta", "delta": "a", "sequence_number": 0}
    before = b"event: response.output_text.delta\ndata: " + json.dumps(delta).encode() + b"\n\n"
    pieces = iter(
        openai_client(stream(before, "responses")).responses.create(model="m", input="hi", stream=True)
    )
    assert next(pieces).type == "response.output_text.delta"
    with pytest.raises(openai.APIError) as caught:
        next(pieces)
    assert caught.value.message == MESSAGE


def test_an_event_of_responses_is_what_its_documentation_says() -> None:
    _, data = error_event("responses", BudgetError("x"), sequence_number=7).decode().split("\ndata: ")
    event = openai.types.responses.ResponseErrorEvent.model_validate_json(data)
    assert (event.type, event.message, event.code, event.sequence_number) == (
        "error",
        "x",
        "out_of_memory",
        7,
    )


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ERROR, "api_error"),
        (ServingError("busy"), "overloaded_error"),
        (UsageError("u"), "invalid_request_error"),
    ],
)
def test_anthropic_raises_from_a_stream_under_way(error: SixgigError, kind: str) -> None:
    before = b'event: ping\ndata: {"type": "ping"}\n\nevent: message_stop\ndata: {"type": "message_stop"}\n\n'
    client = anthropic_client(stream(before, "anthropic", error))
    pieces = iter(client.messages.create(max_tokens=9, model="m", messages=CHAT, stream=True))  # type: ignore[call-overload]
    assert next(pieces).type == "message_stop"
    with pytest.raises(anthropic.APIStatusError) as caught:
        next(pieces)
    assert (caught.value.api_message, caught.value.type) == (str(error), kind)


def test_ollama_raises_from_a_stream_under_way() -> None:
    before = b'{"model": "m", "message": {"role": "assistant", "content": "a"}, "done": false}\n'
    pieces = ollama_client(stream(before, "ollama")).chat("m", CHAT, stream=True)
    assert next(pieces).message.content == "a"
    with pytest.raises(ollama.ResponseError) as caught:
        next(pieces)
    assert caught.value.error == MESSAGE


@pytest.mark.parametrize(("error", "tries"), [(ServingError("busy"), 3), (BudgetError("too large"), 1)])
def test_clients_repeat_what_may_pass_and_only_that(
    error: SixgigError, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    status, asked = status_of(error), []

    def reply() -> tuple[int, dict[str, str], bytes]:
        asked.append(status)
        return status, error_headers(error), error_body("openai", status, error)

    with pytest.raises(openai.InternalServerError):
        openai_client(reply).with_options(max_retries=2).chat.completions.create(model="m", messages=CHAT)  # type: ignore[arg-type]
    assert len(asked) == tries
    assert waited == [5.0] * (tries - 1)
