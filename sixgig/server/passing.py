"""Endpoints whose protocol the engine speaks itself, OpenAI's and Anthropic's: bytes pass as they come."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from sixgig.errors import SixgigError
from sixgig.gateway.answer import STREAM, StreamBrokenError
from sixgig.gateway.call import Api, Call, parse_body
from sixgig.gateway.exchange import Exchange
from sixgig.gateway.names import Names
from sixgig.router import HEADER
from sixgig.server.bodies import check_size
from sixgig.server.sending import send_answer, send_error, until_left
from sixgig.server.wire import NEVER, Heartbeat, Wire

PATHS: dict[str, Api] = {
    "/v1/chat/completions": "openai",
    "/v1/completions": "openai",
    "/v1/embeddings": "openai",
    "/v1/responses": "responses",
    "/v1/messages": "anthropic",
    "/v1/messages/count_tokens": "anthropic",
}

_NEVER_STREAMED = ("/v1/embeddings", "/v1/messages/count_tokens")
_WAITING = b": waiting\n\n"


class PassThrough:
    """One endpoint, as a plain ASGI app: it sees when a client leaves, and frees its slot at once."""

    def __init__(self, path: str, exchange: Exchange, names: Names, heartbeat_s: float) -> None:
        self._path, self._api = path, PATHS[path]
        self._exchange, self._names, self._heartbeat_s = exchange, names, heartbeat_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            body = await request.body()
            await check_size(body)
            call = self._call(request, body)
        except ClientDisconnect:
            return
        except SixgigError as error:
            await send_error(Wire(send), self._api, error)
            return
        await until_left(receive, self._answer(call, Wire(send)))

    def _call(self, request: Request, body: bytes) -> Call:
        fields = parse_body(body)
        asked = fields.get("model")
        key = request.scope.get("state", {}).get("key")
        return Call(
            api=self._api,
            path=self._path,
            body=body,
            model=self._names.required(asked),
            asked=asked or "",
            stream=fields.get("stream") is True,
            key=key.name if key else None,
            private_header=tuple(request.headers.getlist(HEADER)),
        )

    async def _answer(self, call: Call, wire: Wire) -> None:
        streams = call.stream and call.path not in _NEVER_STREAMED
        every_s = self._heartbeat_s if streams else NEVER
        headers = {"x-request-id": call.id}
        async with wire.alive(Heartbeat(every_s, STREAM, lambda: _WAITING, headers)):
            try:
                async with self._exchange.answer(call) as answer:
                    await send_answer(wire, answer, call)
            except StreamBrokenError:
                return  # the client was told within its stream
            except SixgigError as error:
                await send_error(wire, self._api, error, call.id)
