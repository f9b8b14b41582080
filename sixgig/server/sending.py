"""Answers and errors onto the wire, and a client that leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive, Send

from sixgig.errors import SixgigError
from sixgig.gateway.answer import Answer, StreamBrokenError, status_of
from sixgig.gateway.call import Api, Call
from sixgig.server.completing import CompletedStream
from sixgig.server.shapes import error_body, error_event, error_headers, passed_error

_BAD = 400


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


async def send_answer(send: Send, answer: Answer, call: Call) -> None:
    """Status, headers, then the body as it comes, in whole events: what says why it broke must begin one.

    Raises StreamBrokenError where it broke.
    """
    if not answer.streamed:
        await _send_whole(send, answer, call.api)
        return
    await start(send, answer.status, answer.content_type, answer.headers)
    stream = CompletedStream(call)
    try:
        async for piece in answer.body:
            if events := stream.feed(piece):
                await send({"type": "http.response.body", "body": events, "more_body": True})
    except StreamBrokenError as error:
        last = error_event(call.api, error.reason, stream.sequence_number)
        await send({"type": "http.response.body", "body": last})
        raise
    await send({"type": "http.response.body", "body": stream.close()})


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


async def _send_whole(send: Send, answer: Answer, api: Api) -> None:
    body = b"".join([piece async for piece in answer.body])
    if answer.status >= _BAD:
        body = passed_error(api, answer.status, body)
    headers = answer.headers | {"content-length": str(len(body))}
    await start(send, answer.status, answer.content_type, headers)
    await send({"type": "http.response.body", "body": body})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
