"""One request of an Ollama client's with its way back, and the ASGI app that answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from sixgig.errors import SixgigError
from sixgig.gateway.call import Call
from sixgig.gateway.preparing import IGNORED_HEADER, ignored_header
from sixgig.router import HEADER
from sixgig.server.ollama_answers import NDJSON, ndjson
from sixgig.server.ollama_fields import ModelRequest
from sixgig.server.ollama_requests import EngineRequest
from sixgig.server.sending import send_error, start, until_left

_OK = 200


@dataclass
class Visit:
    """A request and its body. started: the client has the status already."""

    request: Request
    body: bytes
    send: Send
    started: bool = False

    def call(self, asked: ModelRequest, model: str, engine: EngineRequest) -> Call:
        """For the exchange; model: as configured."""
        key = self.request.scope.get("state", {}).get("key")
        return Call(
            api="ollama",
            path=engine.path,
            body=engine.body,
            model=model,
            asked=asked.model,
            stream=engine.fields.get("stream") is True,
            key=key.name if key else None,
            private_header=tuple(self.request.headers.getlist(HEADER)),
            keep_alive_s=asked.keep_alive,
        )

    async def say(self, document: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        """A JSON document and no more."""
        self.started = True
        await start(self.send, _OK, "application/json", headers or {})
        await self.pass_on(ndjson(document), more=False)

    async def start(self, headers: dict[str, str]) -> None:
        """Lines will follow."""
        self.started = True
        await start(self.send, _OK, NDJSON, headers)

    async def pass_on(self, lines: bytes, more: bool = True) -> None:
        """Lines, and whether more will follow."""
        if lines or not more:
            await self.send({"type": "http.response.body", "body": lines, "more_body": more})


class Endpoint:
    """A plain ASGI app: it sees when the client leaves. Errors before the first byte have Ollama's shape."""

    def __init__(self, answer: Callable[[Visit], Awaitable[None]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            visit = Visit(request, await request.body(), send)
        except ClientDisconnect:
            return
        await until_left(receive, self._told(visit))

    async def _told(self, visit: Visit) -> None:
        try:
            await self._answer(visit)
        except SixgigError as error:
            if not visit.started:
                await send_error(visit.send, "ollama", error)


def told_ignored(asked: ModelRequest, headers: Mapping[str, str] | None = None) -> dict[str, str]:
    """A header that names what was given and does nothing here. headers: the answer's, for what it names."""
    engine = (headers or {}).get(IGNORED_HEADER, "")
    return ignored_header([*asked.ignored, *(name for name in engine.split(", ") if name)])
