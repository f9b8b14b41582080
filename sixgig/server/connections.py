"""Connections: how many there may be, how long each may stay silent, and what leaves in one write.

uvicorn's protocol on httptools, with the limits of time and number that it lacks. What a client does not read
is the kernel's to give up (TCP_USER_TIMEOUT); a body that stops coming is refused in `bodies`.
"""

from __future__ import annotations

import asyncio
import re
import resource
import socket
from functools import partial
from typing import Any, cast

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sixgig.gateway import logs
from sixgig.gateway.answer import RefusedError
from sixgig.server.credentials import OPEN_PATHS
from sixgig.server.shapes import api_of, error_body, error_headers
from sixgig.settings import TimeoutSettings

MOST_HEAD_BYTES = 40 << 10  # of a request before its headers are complete; `guards` allows less
# Connections above the bound that are answered: /health, and to the others that the server is full.
SPARE = 16
ACCEPTED_AT_ONCE = 32
# Descriptors that no client may take: files, ledger, pipes, the spare; and for each model its process's.
_OWN_DESCRIPTORS, _OF_A_MODEL = 64 + SPARE + ACCEPTED_AT_ONCE, 8
_SWEEP_S = 1.0
_METHODS = frozenset(b"GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT".split())
_METHOD = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,40}")
_FULL = RefusedError(503, "the server has no connection left", cure="ask again, or close idle connections")
_FULL_AT_ONCE = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft
    return hard


def connections_within(n_descriptors: int, n_models: int, most: int) -> int:
    """How many connections fit: each may need a second descriptor, to an engine or an upstream.

    The smaller of `most` and that; at least one.
    """
    if n_descriptors == resource.RLIM_INFINITY:
        return most
    return max(1, min(most, (n_descriptors - _OWN_DESCRIPTORS - _OF_A_MODEL * n_models) // 2))


def watch_clients(listener: socket.socket, write_s: float) -> None:
    """For all connections to come: one whose client reads nothing for that time, or is gone, is closed.

    It is so also where all that was written fits into the kernel's buffers. Below zero: never.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if write_s < 0:
        return
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(1000 * write_s)))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, round(write_s)))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, round(write_s / 4)))


class Connections:
    """All of a server's. protocol() makes one, as uvicorn does. bound: how many may have requests.

    The first of each dictionary is the one that has been so for longest, so that nothing is searched.
    """

    def __init__(self, bound: int, timeouts: TimeoutSettings) -> None:
        self.bound = bound
        self._limits_s = timeouts.idle_s, timeouts.headers_s
        self._all: set[Connection] = set()
        self._idle: dict[Connection, float] = {}  # no request has begun
        self._arriving: dict[Connection, float] = {}  # its headers are not complete
        self._sweeping = False

    @property
    def is_full(self) -> bool:
        """Whether there are more than may have requests."""
        return len(self._all) > self.bound

    def protocol(self, **fields: Any) -> Connection:
        """For uvicorn.Config(http=...)."""
        return Connection(self, **fields)

    def came(self, connection: Connection) -> None:
        """A new one; those that rest make room for it, and without any it is told that the server is full."""
        n_busy = len(self._all) - len(self._idle)
        most = self.bound if n_busy < self.bound else self.bound + SPARE
        while len(self._all) >= most and self._idle:
            self._drop(next(iter(self._idle)))
        self._all.add(connection)
        self.rests(connection)
        if len(self._all) > self.bound + SPARE:
            connection.say(_FULL_AT_ONCE)
        elif self.is_full:
            connection.app = Full(connection.app, self)
        if not self._sweeping:
            self._sweeping = True
            connection.loop.call_soon(self._sweep, connection.loop)

    def gone(self, connection: Connection) -> None:
        """Its end."""
        self._all.discard(connection)
        self._idle.pop(connection, None)
        self._arriving.pop(connection, None)

    def rests(self, connection: Connection) -> None:
        """No request is under way on it."""
        self._arriving.pop(connection, None)
        if connection in self._all:
            self._idle[connection] = connection.loop.time()

    def arrives(self, connection: Connection) -> None:
        """The first byte of a request is there."""
        self._idle.pop(connection, None)
        self._arriving[connection] = connection.loop.time()

    def answers(self, connection: Connection) -> None:
        """A request's headers are there."""
        self._arriving.pop(connection, None)

    def _drop(self, connection: Connection, why: bytes = b"") -> None:
        self.gone(connection)
        connection.say(why)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close those whose time is over; once a second while there are any."""
        idle_s, headers_s = self._limits_s
        for found, limit_s, why in ((self._idle, idle_s, b""), (self._arriving, headers_s, _TOO_SLOW)):
            before_s = loop.time() - limit_s
            while limit_s >= 0 and found and next(iter(found.values())) <= before_s:
                self._drop(next(iter(found)), why)
        self._sweeping = bool(self._all)
        if self._sweeping:
            shortest_s = min((limit for limit in self._limits_s if limit >= 0), default=_SWEEP_S)
            loop.call_later(min(_SWEEP_S, shortest_s / 4), self._sweep, loop)


class Connection(HttpToolsProtocol):
    """One connection, its requests one after the other."""

    def __init__(self, connections: Connections, **fields: Any) -> None:
        super().__init__(**fields)
        self.registry = connections
        self._head_bytes = 0
        self._in_head = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        self.joined = JoinedWrites(cast("asyncio.Transport", transport), self.loop)
        super().connection_made(self.joined)
        self.registry.came(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio calls it."""
        self.registry.gone(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As asyncio calls it."""
        if self.transport.is_closing():
            return
        self._head_bytes += len(data)
        super().data_received(data if self._in_head or self._answering else _with_known_method(data))
        if self._in_head and self._head_bytes > MOST_HEAD_BYTES:
            self.say(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """As the parser calls it."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        if not self._answering:
            self.registry.arrives(self)

    def on_headers_complete(self) -> None:
        """As the parser calls it."""
        self._in_head = False
        self.registry.answers(self)
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            self.cycle.send = partial(_until_closed, self.cycle, self.cycle.send)  # type: ignore[method-assign]

    def on_response_complete(self) -> None:
        """As a request's cycle calls it, with the last write."""
        self.joined.flush()
        super().on_response_complete()
        self._unset_keepalive_if_required()  # the registry closes it, with those that never asked
        if not self._answering:
            (self.registry.arrives if self._in_head else self.registry.rests)(self)

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def say(self, last: bytes) -> None:
        """Close with these words, or without any; at once where the client does not read."""
        if self.transport.get_write_buffer_size() or not last or self._answering:
            self.transport.abort()
            return
        self.transport.write(last)
        self.transport.close()


def _with_known_method(data: bytes) -> bytes:
    """The parser fails on methods that it does not know. Under the name of one that no path here takes they
    are refused as that is, by 405 with what is allowed.
    """
    method, _, rest = data.partition(b" ")
    if not rest or method in _METHODS or not _METHOD.fullmatch(method):
        return data
    return b"TRACE " + rest


async def _until_closed(cycle: RequestResponseCycle, send: Any, message: Any) -> None:
    """HTTP/1.0 knows no chunks, in which uvicorn sends: a body without a length ends with its connection."""
    if message["type"] == "http.response.start":
        if not any(name.lower() == b"content-length" for name, _ in message.get("headers", ())):
            cycle.chunked_encoding = False
            cycle.expected_content_length = 1  # more than nothing is still to come
    elif cycle.expected_content_length == 1 and cycle.scope["method"] != "HEAD":
        cycle.expected_content_length = len(message.get("body", b"")) + bool(message.get("more_body"))
    await send(message)


class JoinedWrites(asyncio.Transport):
    """A transport whose writes of one turn of the event loop leave in one: each costs a system call."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: list[bytes] = []
        self.is_closing = transport.is_closing  # type: ignore[method-assign]
        self.get_extra_info = transport.get_extra_info  # type: ignore[method-assign]
        self.pause_reading = transport.pause_reading  # type: ignore[method-assign]
        self.resume_reading = transport.resume_reading  # type: ignore[method-assign]
        self.get_write_buffer_size = transport.get_write_buffer_size  # type: ignore[method-assign]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """To be sent when this turn is over."""
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(bytes(data))

    def flush(self) -> None:
        """Send it now."""
        if self._held:
            held, self._held = self._held, []
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))

    def close(self) -> None:
        """When all is sent."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """At once."""
        self._held = []
        self._transport.abort()


class Full:
    """The application where there are too many connections: /health is answered, all else refused."""

    def __init__(self, app: Any, connections: Connections) -> None:
        self._app, self._connections = app, connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        path = scope["path"]
        if path in OPEN_PATHS or not self._connections.is_full:
            await self._app(scope, receive, send)
            return
        logs.event("refused", status=_FULL.status, reason=_FULL.what, path=path)
        body = error_body(api_of(path, Headers(scope=scope)), _FULL.status, _FULL)
        headers = error_headers(_FULL) | {"Connection": "close", "Content-Length": str(len(body))}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": _FULL.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})
