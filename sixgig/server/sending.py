"""Answers and errors onto the wire, and a client that leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from starlette.types import Receive, Send

from sixgig.errors import SixgigError
from sixgig.gateway.answer import Answer, StreamBrokenError, status_of
from sixgig.gateway.call import Api
from sixgig.gateway.pieces import EVENT_ENDS, PieceBuffer
from sixgig.server.shapes import error_body, error_event, error_headers

_LONGEST_EVENT = 1 << 20


async def until_left(receive: Receive, answering: Coroutine[Any, Any, None]) -> None:
    """Await `answering`; cancel it when the client leaves, or when this is. Returns when it has ended."""
    task, leaving = asyncio.create_task(answering), asyncio.create_task(_left(receive))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()


async def send_answer(send: Send, answer: Answer, api: Api) -> None:
    """Status, headers, then the body as it comes; where it breaks, an event that says why ends it.

    Raises StreamBrokenError then.
    """
    if not answer.streamed:
        await _send_whole(send, answer)
        return
    await start(send, answer.status, answer.content_type, answer.headers)
    try:
        async for events in _whole_events(answer.body):
            await send({"type": "http.response.body", "body": events, "more_body": True})
    except StreamBrokenError as error:
        await send({"type": "http.response.body", "body": error_event(api, error.reason)})
        raise
    await send({"type": "http.response.body", "body": b""})


async def send_error(send: Send, api: Api, error: SixgigError) -> None:
    """An error before the first byte, in the API's own shape."""
    status = status_of(error)
    headers = {name.lower(): value for name, value in error_headers(error).items()}
    await start(send, status, "application/json", headers)
    await send({"type": "http.response.body", "body": error_body(api, status, error)})


async def start(send: Send, status: int, content_type: str, headers: dict[str, str]) -> None:
    """Status and headers."""
    pairs = {"content-type": content_type, "cache-control": "no-store", **headers}
    raw = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in pairs.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def _whole_events(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, never cut within an event: what says that a stream broke must begin one."""
    buffer = PieceBuffer(EVENT_ENDS)
    async for piece in body:
        if events := buffer.feed(piece):
            yield events
        elif buffer.n_bytes > _LONGEST_EVENT:
            yield buffer.rest
            buffer.clear()
    if buffer.n_bytes:
        yield buffer.rest


async def _send_whole(send: Send, answer: Answer) -> None:
    body = b"".join([piece async for piece in answer.body])
    headers = answer.headers | {"content-length": str(len(body))}
    await start(send, answer.status, answer.content_type, headers)
    await send({"type": "http.response.body", "body": body})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
