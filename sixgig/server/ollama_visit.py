"""One request of an Ollama client's with its way back, and the ASGI app that answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from sixgig.errors import SixgigError
from sixgig.gateway.answer import StreamBrokenError
from sixgig.gateway.call import Call
from sixgig.gateway.preparing import IGNORED_HEADER, ignored_header
from sixgig.router import HEADER
from sixgig.server.bodies import check_size
from sixgig.server.ollama_answers import ndjson
from sixgig.server.ollama_fields import ModelRequest
from sixgig.server.ollama_requests import EngineRequest
from sixgig.server.sending import send_error, until_left
from sixgig.server.wire import Wire

_OK = 200


@dataclass
class Visit:
    """A request, its body, and the way of its answer."""

    request: Request
    body: bytes
    wire: Wire

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
        await self.wire.start(_OK, "application/json", headers or {})
        await self.wire.pass_on(ndjson(document), more=False)


class Endpoint:
    """A plain ASGI app: it sees when the client leaves. Errors before the first byte have Ollama's shape."""

    def __init__(self, answer: Callable[[Visit], Awaitable[None]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            visit = Visit(request, await request.body(), Wire(send))
        except ClientDisconnect:
            return
        await until_left(receive, self._told(visit))

    async def _told(self, visit: Visit) -> None:
        try:
            await check_size(visit.body)
            await self._answer(visit)
        except StreamBrokenError:
            return  # the client was told within its stream
        except SixgigError as error:
            await send_error(visit.wire, "ollama", error)


def told_ignored(asked: ModelRequest, headers: Mapping[str, str] | None = None) -> dict[str, str]:
    """A header that names what was given and does nothing here. headers: the answer's, for what it names."""
    engine = (headers or {}).get(IGNORED_HEADER, "")
    return ignored_header([*asked.ignored, *(name for name in engine.split(", ") if name)])
