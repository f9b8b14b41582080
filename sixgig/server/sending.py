"""Answers and errors onto the wire, and a client that leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive

from sixgig.errors import SixgigError
from sixgig.gateway.answer import Answer, RefusedError, StreamBrokenError, status_of
from sixgig.gateway.call import Api, Call
from sixgig.server.completing import CompletedStream
from sixgig.server.ollama_answers import engine_error
from sixgig.server.shapes import error_body, error_event, error_headers, passed_error
from sixgig.server.wire import Wire

_BAD = 400


async def until_left(receive: Receive, answering: Coroutine[Any, Any, None]) -> None:
    """Await `answering`; cancel it when the client leaves. Returns when it has ended."""
    answerer, has_left = asyncio.current_task(), False
    assert answerer is not None

    async def watch() -> None:
        nonlocal has_left
        while (await receive())["type"] != "http.disconnect":
            continue
        has_left = True
        answerer.cancel()

    watching = asyncio.create_task(watch())
    try:
        await answering
    except asyncio.CancelledError:
        if not has_left or answerer.uncancel():
            raise
    finally:
        watching.cancel()


async def send_answer(wire: Wire, answer: Answer, call: Call) -> None:
    """Status and headers with the first event, then whole events: what says why it broke must begin one.

    Where it breaks, an event says why, and StreamBrokenError is raised; where nothing was sent, its reason.
    Where the client has the status of a stream already, an answer that is none becomes an event.
    """
    if not answer.streamed:
        await _send_whole(wire, answer, call.api)
        return
    stream = CompletedStream(call)
    try:
        async for piece in answer.body:
            if events := stream.feed(piece):
                await wire.start(answer.status, answer.content_type, answer.headers)
                await wire.pass_on(events)
    except StreamBrokenError as error:
        if not wire.started:
            raise error.reason from error
        last = error_event(call.api, error.reason, stream.sequence_number)
        await wire.pass_on(last, more=False)
        raise
    await wire.start(answer.status, answer.content_type, answer.headers)
    await wire.pass_on(stream.close(), more=False)


async def send_error(wire: Wire, api: Api, error: SixgigError, request_id: str | None = None) -> None:
    """What failed, in the API's own shape: with its status, or as the last event where a stream has begun.

    request_id: of a call that stands in the ledger.
    """
    if wire.started:
        await wire.pass_on(error_event(api, error), more=False)
        return
    status = status_of(error)
    headers = {name.lower(): value for name, value in error_headers(error).items()}
    if request_id is not None:
        headers["x-request-id"] = request_id
    await wire.start(status, "application/json", headers)
    await wire.pass_on(error_body(api, status, error), more=False)


async def _send_whole(wire: Wire, answer: Answer, api: Api) -> None:
    body = b"".join([piece async for piece in answer.body])
    if wire.started:
        await send_error(wire, api, RefusedError(answer.status, engine_error(body)))
        return
    if answer.status >= _BAD:
        body = passed_error(api, answer.status, body)
    headers = answer.headers | {"content-length": str(len(body))}
    await wire.start(answer.status, answer.content_type, headers)
    await wire.pass_on(body, more=False)
