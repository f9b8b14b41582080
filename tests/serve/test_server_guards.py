"""The guards as a whole: what is let in streams through untouched, what is not gets a proper answer."""

import asyncio
import json

import pytest
from starlette.types import Message, Receive, Scope, Send

from sixgig.gateway import logs
from sixgig.server.guards import Guards
from sixgig.server.keys import Keyring
from sixgig.settings import ServerSettings
from tests.serve.guarded import HERE, Inner, ask


def test_a_stream_goes_through_piece_by_piece_and_a_disconnect_is_heard() -> None:
    """Each piece must have been sent on before the next is made; then the client leaves."""
    seen: list[str] = []

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200})
        for number in range(3):
            await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
            seen.append(f"made {number}")
        seen.append(str((await receive())["type"]))

    async def exchange() -> None:
        coming = [{"type": "http.request"}, {"type": "http.disconnect"}]

        async def receive() -> Message:
            return coming.pop(0)

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                seen.append(f"sent {message['body'].decode()}")

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/v1/x", "headers": headers}
        await Guards(streaming, ServerSettings(), Keyring())(scope, receive, send)

    asyncio.run(exchange())
    assert seen == ["sent 0", "made 0", "sent 1", "made 1", "sent 2", "made 2", "http.disconnect"]


def test_an_applications_own_failure_is_not_hidden() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("ours")

    with pytest.raises(LookupError):
        ask(HERE, inner=failing)


def test_web_sockets_do_not_come_past_the_checks() -> None:
    inner, sent = Inner(), []

    async def never() -> Message:
        raise AssertionError("nothing to receive")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": [(b"host", b"evil.example")]}
    asyncio.run(Guards(inner, ServerSettings(), Keyring())(scope, never, send))
    assert sent == [{"type": "websocket.close", "code": 1008}] and not inner.scopes


def test_the_servers_own_start_and_end_pass() -> None:
    scopes: list[str] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope["type"])

    asyncio.run(Guards(inner, ServerSettings(), Keyring())({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert scopes == ["lifespan"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/chat/completions", ("error", "message")),
        ("/v1/responses", ("error", "message")),
        ("/v1/messages", ("error", "message")),
        ("/api/chat", ("error",)),
    ],
)
def test_a_refusal_has_its_apis_shape_and_its_log_line(
    path: str, message: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(logs, "event", lambda name, **fields: events.append((name, fields)))
    reply = ask(HERE, path=path, secret=None)
    told = json.loads(reply.body)
    assert (told.get("type") == "error") is (path == "/v1/messages")
    for name in message:
        told = told[name]
    assert told == "an API key is needed; send Authorization: Bearer KEY with a key of this server"
    assert reply.header("content-type") == "application/json"
    assert reply.header("content-length") == str(len(reply.body))
    fields = {"status": 401, "reason": "an API key is needed", "path": path, "client": "127.0.0.1"}
    assert events == [("refused", fields)]
