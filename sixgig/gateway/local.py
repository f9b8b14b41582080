"""One call to an engine here: a slot, the model loaded, the bytes passed through."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx

from sixgig.engines import EngineProcess, Fleet
from sixgig.errors import EngineLostError, ServingError, SixgigError
from sixgig.gateway import logs
from sixgig.gateway.admission import Admission
from sixgig.gateway.answer import Answer, RefusedError, StreamBrokenError
from sixgig.gateway.call import Call
from sixgig.gateway.limits import check_limits
from sixgig.ledger import LOCAL

_LOST_S = 1.0  # a process that has died is known to be dead within this time
_BROKEN = (httpx.HTTPError, RuntimeError)  # the latter of a connection that the fleet has closed already
_JSON = "application/json"
_HEADERS = {"content-type": _JSON}
_ERROR_EVENTS = (b'data: {"error":', b"event: error\n")
# What the engine answers with 500 for a fault of its own. Its other 500s and 501s are about the request:
# tools without a name, an image for a model that sees none, a text to embed that is longer than a batch.
_OWN_FAULTS = ("Compute error", "Invalid input batch", "Context size has been exceeded", "failed to")


class Local:
    """The models of this machine."""

    def __init__(self, fleet: Fleet, queue: Admission) -> None:
        self.fleet, self.queue = fleet, queue

    @contextlib.asynccontextmanager
    async def answer(
        self, call: Call, waited: Callable[[float], object], began: Callable[[], Any]
    ) -> AsyncIterator[Answer]:
        """The engine's answer, its slot held for the time of the block.

        waited: gets the seconds in the queue; began: awaited when the engine is there. Raises SixgigError
        before the first byte.
        """
        card = self.fleet.models[call.model].card
        check_limits(call, card)
        slots = card.spec.sequences
        async with self.queue.enter(call.model, slots) as queue_s:
            waited(queue_s)
            async with self.fleet.lease(call.model, call.keep_alive_s) as engine:
                await began()
                async with _answered(engine, call) as response:
                    yield Answer(
                        response.status_code,
                        response.headers.get("content-type", _JSON),
                        LOCAL,
                        _explained(engine, response),
                    )

    async def count_prompt(self, call: Call) -> int | None:
        """Tokens of a chat's prompt by the model's own template and tokenizer; None where it cannot tell."""
        if not call.path.endswith("/chat/completions"):
            return None
        try:
            async with self.fleet.lease(call.model) as engine:
                path = f"{call.path}/input_tokens"
                response = await engine.client.post(path, content=call.body, headers=_HEADERS)
                tokens = response.raise_for_status().json().get("input_tokens")
        except (SixgigError, *_BROKEN, ValueError):  # it is asked again, and then whoever may answers
            return None
        return tokens if isinstance(tokens, int) else None


@contextlib.asynccontextmanager
async def _answered(engine: EngineProcess, call: Call) -> AsyncIterator[httpx.Response]:
    """Its answer below 500; a fault of its own that may pass gets a second try."""
    async with _sent(engine, call) as response:
        if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
            yield response
            return
        failure = await _failed(engine, response)
    if isinstance(failure, RefusedError):  # by what was asked, or by the disk
        raise failure
    logs.event("asked_again", id=call.id, model=call.model, reason=str(failure))
    async with _sent(engine, call) as response:
        if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise await _failed(engine, response)
        yield response


@contextlib.asynccontextmanager
async def _sent(engine: EngineProcess, call: Call) -> AsyncIterator[httpx.Response]:
    request = engine.client.build_request("POST", call.path, content=call.body, headers=_HEADERS)
    try:
        response = await engine.client.send(request, stream=True)
    except _BROKEN as error:
        raise await _why(engine, error) from error
    try:
        yield response
    finally:
        await response.aclose()


async def _explained(engine: EngineProcess, response: httpx.Response) -> AsyncIterator[bytes]:
    """The bytes as they come; an error event of the engine's gives way to what is known of its cause."""
    try:
        async for piece in response.aiter_raw():
            if piece.startswith(_ERROR_EVENTS):
                raise StreamBrokenError(await engine.failure() or _own_words(piece))
            yield piece
    except _BROKEN as error:
        raise StreamBrokenError(await _why(engine, error)) from error


async def _failed(engine: EngineProcess, response: httpx.Response) -> SixgigError:
    """Why the engine answered with 5xx: what the disk said, else its own words."""
    failure = await engine.failure()
    if failure is not None:
        return RefusedError(httpx.codes.SERVICE_UNAVAILABLE, failure.what, failure.numbers, failure.cure)
    try:
        told = str(json.loads(await response.aread())["error"]["message"])[:200]
    except (*_BROKEN, ValueError, LookupError, TypeError):
        return ServingError("the engine failed", f"status {response.status_code}", "ask again")
    if told.startswith(_OWN_FAULTS):
        return ServingError("the engine failed", told, "ask again")
    return RefusedError(httpx.codes.BAD_REQUEST, "the model cannot answer this request", told)


def _own_words(event: bytes) -> SixgigError:
    """Of an error event."""
    found = re.search(rb'"message": ?("(?:[^"\\]|\\.)*")', event)
    told = "" if found is None else str(json.loads(found[1]))[:200]
    return ServingError("the engine failed", told, "ask again")


async def _why(engine: EngineProcess, error: Exception) -> SixgigError:
    """The process's own end, where it has ended; it may be known a moment after its socket closes."""
    with contextlib.suppress(TimeoutError):
        return await _loss(engine)
    return await engine.failure() or ServingError("the engine broke off", type(error).__name__, "ask again")


async def _loss(engine: EngineProcess) -> EngineLostError:
    return await asyncio.wait_for(asyncio.shield(engine.lost), _LOST_S)
