"""What every request passes before anything else sees it. Pure ASGI: streams and disconnects go through."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sixgig.gateway import logs
from sixgig.gateway.answer import RefusedError
from sixgig.server.bodies import USUAL, BodyRoom, LimitedBody, check_content, check_length
from sixgig.server.cors import OriginGate, RawHeaders, preflight_headers
from sixgig.server.credentials import OPEN_PATHS, SECRET_HEADERS, challenge, secret_in
from sixgig.server.hosts import HostGate
from sixgig.server.keys import Keyring
from sixgig.server.shapes import api_of, error_body, error_headers
from sixgig.settings import KeySettings, ServerSettings, TimeoutSettings
from sixgig.settings.origins import Authority

MOST_HEADERS, MOST_HEADER_BYTES = 100, 32 << 10
ALL_BODIES_BYTES = 32 << 20  # of which the server's growth has room (sixgig/jobs/serve_gateway.py)
_POLICY_VIOLATION = 1008


class Guards:
    """Checks headers' size, Host, Origin, key, body; what fails is answered here, in its API's own shape.

    The application finds the key, or None, in ``scope["state"]["key"]``, and no secret in the headers.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings,
        keys: Keyring,
        timeouts: TimeoutSettings = USUAL,
    ) -> None:
        self._app, self._keys, self._timeouts = app, keys, timeouts
        self._hosts = HostGate(settings.host, settings.allowed_hosts)
        self._origins = OriginGate(settings.allowed_origins)
        self._limit_bytes = settings.max_body_bytes
        self._room = BodyRoom(max(ALL_BODIES_BYTES, 2 * settings.max_body_bytes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. There are no WebSockets here, which would come past the checks of HTTP."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, _Reply(scope, send))
        else:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})

    async def _answer(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        headers = Headers(scope=scope)
        try:
            authority = self._addressed(scope, headers)
            reply.extra = self._origins.headers(None)
            origin = self._origins.check(headers, authority)
            reply.extra = self._origins.headers(origin)
            if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                await reply.empty(preflight_headers(headers) if origin else [])
                return
            key = self._key(scope, headers)
            check_length(headers, self._limit_bytes)
            check_content(scope["method"], scope["path"], headers)
        except RefusedError as error:
            await reply.refuse(error)
            return
        body = LimitedBody(receive, self._limit_bytes, self._room, self._timeouts)
        try:
            await self._pass(_admitted(scope, key), body, reply)
        finally:
            body.release()

    def _addressed(self, scope: Scope, headers: Headers) -> Authority:
        if len(headers.raw) > MOST_HEADERS or _size(headers.raw) > MOST_HEADER_BYTES:
            numbers = f"at most {MOST_HEADERS} headers, {MOST_HEADER_BYTES} bytes in all"
            raise RefusedError(431, "the headers are too large", numbers, "send fewer")
        local = scope.get("server")
        return self._hosts.check(headers.getlist("host"), local[0] if local else None)

    def _key(self, scope: Scope, headers: Headers) -> KeySettings | None:
        """Raises RefusedError (401) where one is needed and none, or a wrong one, is there."""
        secret = secret_in(headers, scope["path"])
        key = self._keys.find(secret)
        if key is None and self._keys and scope["path"] not in OPEN_PATHS:
            what = "this API key is not known here" if secret else "an API key is needed"
            raise RefusedError(401, what, "", "send Authorization: Bearer KEY with a key of this server")
        return key

    async def _pass(self, scope: Scope, body: LimitedBody, reply: _Reply) -> None:
        async def unless_exceeded(message: Message) -> None:
            if body.refused is None or reply.started:
                await reply(message)

        try:
            await self._app(scope, body, unless_exceeded)
        except Exception:
            if body.refused is None or reply.started:
                raise
        if body.refused is not None and not reply.started:
            await reply.refuse(body.refused)


class _Reply:
    """`send`, with what the guards say in every response's headers, and nothing of CORS from below."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.started = False
        self.extra: RawHeaders = []
        self._scope, self._send = scope, send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            kept = [
                (n, v) for n, v in message.get("headers", ()) if not n.lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": [*kept, *self.extra]}
        await self._send(message)

    async def empty(self, granted: RawHeaders) -> None:
        """204, with these headers of CORS."""
        self.extra = [*self.extra, *granted]
        await self({"type": "http.response.start", "status": 204})
        await self({"type": "http.response.body"})

    async def refuse(self, error: RefusedError) -> None:
        """The error as the body. What is left of a body too large is not read: the connection closes."""
        path = self._scope["path"]
        logs.event("refused", status=error.status, reason=error.what, path=path, client=_client(self._scope))
        headers = error_headers(error)
        if error.status == 401:
            headers["WWW-Authenticate"] = challenge(path)
        if error.status in (408, 413, 503):
            headers["Connection"] = "close"
        body = error_body(api_of(path, Headers(scope=self._scope)), error.status, error)
        headers["Content-Length"] = str(len(body))
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": error.status, "headers": raw})
        await self({"type": "http.response.body", "body": body})


def _admitted(scope: Scope, key: KeySettings | None) -> dict[str, Any]:
    headers = [(name, value) for name, value in scope["headers"] if name not in SECRET_HEADERS]
    return {**scope, "headers": headers, "state": {**scope.get("state", {}), "key": key}}


def _size(headers: Iterable[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def _client(scope: Scope) -> str | None:
    client = scope.get("client")
    return str(client[0]) if client else None
