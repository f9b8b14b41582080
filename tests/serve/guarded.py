"""One request to the guards, and what became of it."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sixgig.server.guards import Guards
from sixgig.server.keys import Keyring
from sixgig.settings import KeySettings, ServerSettings
from tests.serve.fixed_keys import fixed_key

SECRET, DIGEST = fixed_key("one")
RING = Keyring([KeySettings(name="laptop", sha256=DIGEST)])
HERE = ("host", "127.0.0.1:8333")
JSON = ("content-type", "application/json")
LIMIT = 100
Pairs = Sequence[tuple[str, str]]


@dataclass
class Inner:
    """An application that reads all of its body and remembers what reached it."""

    scopes: list[Scope] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        while True:
            message = await receive()
            self.bodies.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-inner", b"1")]})
        await send({"type": "http.response.body", "body": b"inner"})


@dataclass
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    inner: Any

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def reached(self) -> bool:
        return bool(self.inner.scopes)


def ask(
    *headers: tuple[str, str],
    method: str = "GET",
    path: str = "/v1/models",
    body: Iterable[bytes] = (b"",),
    inner: Any = None,
    keys: Keyring = RING,
    secret: str | None = SECRET,
    server: tuple[str, int | None] = ("127.0.0.1", 8333),
    **settings: Any,
) -> Reply:
    """One request, by default with a good key, to guards of these settings."""
    inner = Inner() if inner is None else inner
    guards = Guards(inner, ServerSettings.model_validate({"max_body": LIMIT, **settings}), keys)
    pairs = [*headers, *([("authorization", f"Bearer {secret}")] if secret else [])]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in pairs],
        "server": server,
        "client": ("127.0.0.1", 5),
        "state": {"shared": 1},
    }
    return asyncio.run(_answered(guards, scope, list(body), inner))


async def _answered(app: ASGIApp, scope: Scope, pieces: list[bytes], inner: Any) -> Reply:
    coming: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    coming[-1]["more_body"] = False
    sent: list[Message] = []

    async def receive() -> Message:
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    headers = [(name.decode(), value.decode("latin-1")) for name, value in start.get("headers", [])]
    assert [message["type"] for message in sent].count("http.response.start") == 1
    return Reply(start["status"], headers, b"".join(m.get("body", b"") for m in sent[1:]), inner)
