"""HTTP/1.1 to an engine's own server over its Unix socket, with one write a request and nothing in between.

Covers POST with a JSON body and answers of any length; connections are kept and used again. Does not cover
what that server never does: redirects, compression, trailers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import httptools

CONNECT_S = 5.0
IDLE_CONNECTIONS = 32
# The engine closes a silent connection after five seconds; a request must not meet that.
KEPT_S = 2.0
MOST_UNREAD_BYTES = 256 << 10  # of an answer whose reader is slower than the engine


class BrokenConnectionError(ConnectionError):
    """The engine cannot be reached, ended its answer too soon, or answered with what is no HTTP."""


class EngineClient:
    """Connections to one socket. Belongs to one event loop. There is no limit of time but for connecting."""

    def __init__(self, socket: str) -> None:
        self._socket, self._closed = socket, False
        self._idle: deque[tuple[float, _Connection]] = deque()
        self._busy: set[_Connection] = set()
        self._replacing: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def stream(self, path: str, body: bytes) -> AsyncIterator[EngineReply]:
        """The answer from its headers on, for the time of the block; left early, the engine is told at once.

        Raises BrokenConnectionError.
        """
        connection = await self._asked(path, body)
        try:
            assert connection.reply is not None
            yield connection.reply
        finally:
            self._let_go(connection)

    async def post(self, path: str, *, content: bytes | None = None, json: Any = None) -> EngineReply:
        """The whole answer to bytes, or to a document. Raises BrokenConnectionError."""
        async with self.stream(path, _compact(json) if content is None else content) as reply:
            await reply.aread()
            return reply

    async def aclose(self) -> None:
        """Break off what is under way, and let go of all connections."""
        self._closed = True
        if self._replacing is not None:
            self._replacing.cancel()
        for connection in (*self._busy, *(connection for _, connection in self._idle)):
            connection.abort()
        self._idle.clear()

    async def _asked(self, path: str, body: bytes) -> _Connection:
        """A connection on which the answer has begun.

        The engine closes after a stream and after a silence, perhaps while a kept connection is being asked:
        what ends there without one byte was not read, and is asked again.
        """
        while True:
            kept = self._kept()
            connection = kept or await self._connected()
            self._busy.add(connection)
            try:
                await connection.ask(path, body)
            except BrokenConnectionError:
                self._let_go(connection)
                if kept is None or connection.heard:
                    raise
            except BaseException:
                self._let_go(connection)
                raise
            else:
                return connection

    def _let_go(self, connection: _Connection) -> None:
        self._busy.discard(connection)
        self._keep(connection)

    def _kept(self) -> _Connection | None:
        """The connection used last, if the engine cannot have closed it yet."""
        oldest_s = asyncio.get_running_loop().time() - KEPT_S
        while self._idle:
            at_s, connection = self._idle.pop()
            if at_s > oldest_s and connection.usable:
                return connection
            connection.abort()
        return None

    async def _connected(self) -> _Connection:
        if self._closed:
            raise BrokenConnectionError("the connections to this engine are closed")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await loop.create_unix_connection(self._made, self._socket)
        except (OSError, TimeoutError) as error:
            raise BrokenConnectionError(f"no connection: {error or type(error).__name__}") from error
        return connection

    def _made(self) -> _Connection:
        return _Connection(self._lost)

    def _lost(self, connection: _Connection) -> None:
        """The engine closes after each stream: the next is ready before it is asked for, one at most, as each
        holds one of the engine's threads.
        """
        was_kept = len(self._idle)
        self._idle = deque(kept for kept in self._idle if kept[1] is not connection)
        if connection.used and was_kept and not self._idle and not self._closed:
            self._replacing = asyncio.create_task(self._replace())

    async def _replace(self) -> None:
        with contextlib.suppress(BrokenConnectionError):
            self._keep(await self._connected())

    def _keep(self, connection: _Connection) -> None:
        connection.reply = None
        if self._closed or not connection.usable:
            connection.abort()
            return
        self._idle.append((asyncio.get_running_loop().time(), connection))
        if len(self._idle) > IDLE_CONNECTIONS:
            self._idle.popleft()[1].abort()


class EngineReply:
    """An answer. status_code, headers (names in lower case): from the start; the body as it is read."""

    def __init__(self, connection: _Connection) -> None:
        self.status_code = 0
        self.headers: dict[str, str] = {}
        self._connection = connection
        self._pieces: deque[bytes] = deque()
        self._unread_bytes = 0
        self._body: bytes | None = None
        self._begun = self._complete = False
        self._error: BrokenConnectionError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def text(self) -> str:
        """The body, once it was read."""
        return (self._body or b"").decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as a document, once it was read. Raises ValueError."""
        return json.loads(self._body or b"")

    async def aread(self) -> bytes:
        """All of the body. Raises BrokenConnectionError where it ends too soon."""
        if self._body is None:
            self._body = b"".join([piece async for piece in self.aiter_raw()])
        return self._body

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        """The body as the engine wrote it. Raises BrokenConnectionError where it ends too soon."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._unread_bytes -= len(piece)
                yield piece
            if self._complete:
                return
            self._connection.resume()
            await self._news()

    async def begun(self) -> None:
        """Returns when status and headers are there."""
        while not self._begun:
            await self._news()

    async def _news(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def begin(self, status_code: int) -> None:
        """Called by the connection, as are all below: the headers are complete."""
        self.status_code, self._begun = status_code, True

    def add(self, piece: bytes) -> bool:
        """More of the body; whether its reader keeps up."""
        self._pieces.append(piece)
        self._unread_bytes += len(piece)
        return self._unread_bytes < MOST_UNREAD_BYTES

    def complete(self) -> None:
        """The body has ended."""
        self._complete = True

    def fail(self, error: BrokenConnectionError) -> None:
        """Nothing more will come."""
        self._error = self._error or error
        self.wake()

    def wake(self) -> None:
        """Whoever waits looks again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Connection(asyncio.Protocol):
    """One connection, with at most one request under way. reply: to that; heard: some of it came.

    used: whether anything was ever asked. lost: told of its end.
    """

    def __init__(self, lost: Callable[[_Connection], None]) -> None:
        self.reply: EngineReply | None = None
        self.used = self.heard = False
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._idle, self._paused = True, False

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._idle and self._transport is not None and not self._transport.is_closing()

    async def ask(self, path: str, body: bytes) -> None:
        """Send a request; returns once the headers of its answer, `reply`, are there."""
        assert self._transport is not None
        self._idle, self.used, self.heard, self.reply = False, True, False, EngineReply(self)
        head = f"POST {path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\n"
        self._transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (head.encode("ascii"), len(body), body))
        await self.reply.begun()

    def resume(self) -> None:
        """The reader wants more."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once; the engine then frees the slot."""
        if self._transport is not None:
            self._transport.abort()
        self._fail("closed here")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """As asyncio calls it."""
        if self.reply is None:  # nothing was asked
            self.abort()
            return
        self.heard = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, ValueError) as error:
            self._fail(f"its answer is no HTTP: {type(error).__name__}")
            self.abort()
        else:
            self.reply.wake()

    def connection_lost(self, error: Exception | None) -> None:
        """As asyncio calls it."""
        self._transport = None
        self._fail(str(error) if error else "it closed the connection")
        self._lost(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        """As the parser calls it."""
        if self.reply is not None:
            self.reply.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """As the parser calls it."""
        if self.reply is not None:
            self.reply.begin(self._parser.get_status_code())

    def on_body(self, body: bytes) -> None:
        """As the parser calls it."""
        if self.reply is not None and not self.reply.add(body) and self._transport and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """As the parser calls it."""
        if self.reply is not None:
            self.reply.complete()
            self._idle = self._parser.should_keep_alive()

    def _fail(self, why: str) -> None:
        if self.reply is not None:
            self.reply.fail(BrokenConnectionError(why))


def _compact(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
