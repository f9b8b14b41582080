"""One response on its way to the client: status, body, and in every silence of a stream a sign of life.

Nothing is said at once, so that what fails early has a status. After some seconds of silence (the queue, a
model that loads, a long prompt) the headers go out, then at intervals what every client passes over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from starlette.types import Send

NEVER = -1.0
_OK = 200
_WHOLE = (b"\n\n", b"\r\n\r\n")


@dataclass(frozen=True)
class Heartbeat:
    """content_type, headers: of a stream that begins with one. beat: makes what is sent, a whole event.

    every_s: NEVER, or any below zero, for none. ends: what may stand before it.
    """

    every_s: float
    content_type: str
    beat: Callable[[], bytes]
    headers: dict[str, str] = field(default_factory=dict)
    ends: tuple[bytes, ...] = _WHOLE


class Wire:
    """started: the client has the status already; what fails then must be told within the body."""

    def __init__(self, send: Send) -> None:
        self.started = False
        self._send = send
        self._spoke_s = 0.0
        self._whole = True
        self._beating: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ends: tuple[bytes, ...] = ()

    async def start(self, status: int, content_type: str, headers: dict[str, str]) -> None:
        """Status and headers, unless they are out."""
        if self.started:
            return
        self.started = True
        pairs = {"content-type": content_type, "cache-control": "no-store", **headers}
        raw = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in pairs.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def pass_on(self, body: bytes, more: bool = True) -> None:
        """A part of the body, and whether more will follow."""
        if not body and more:
            return
        if self._timer is not None:
            self._spoke_s = asyncio.get_running_loop().time()
            self._whole = body.endswith(self._ends)
        if not more:
            self._stop()
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    @contextlib.asynccontextmanager
    async def alive(self, heartbeat: Heartbeat) -> AsyncIterator[None]:
        """Heartbeats while the block runs and the body has not ended."""
        if heartbeat.every_s >= 0:
            self._ends, self._spoke_s = heartbeat.ends, asyncio.get_running_loop().time()
            self._listen(heartbeat, heartbeat.every_s)
        try:
            yield
        finally:
            self._stop()

    def _listen(self, heartbeat: Heartbeat, for_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(for_s, self._due, heartbeat)

    def _due(self, heartbeat: Heartbeat) -> None:
        silent_s = asyncio.get_running_loop().time() - self._spoke_s
        if silent_s < heartbeat.every_s:
            self._listen(heartbeat, heartbeat.every_s - silent_s)
            return
        self._listen(heartbeat, heartbeat.every_s)
        # Not within an event; and one that the client does not read is not followed by another.
        if self._whole and (self._beating is None or self._beating.done()):
            self._beating = asyncio.create_task(self._beat(heartbeat))

    async def _beat(self, heartbeat: Heartbeat) -> None:
        await self.start(_OK, heartbeat.content_type, heartbeat.headers)
        if self._whole:
            await self.pass_on(heartbeat.beat())

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None
