"""Why an engine's answer failed, in words: its disk's, its process's end, else its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator

from sixgig.engines import BrokenConnectionError, EngineProcess, EngineReply
from sixgig.errors import EngineLostError, ServingError, SixgigError
from sixgig.gateway.answer import RefusedError, StreamBrokenError

FAULTS = 500  # and above: the engine's own, or what it takes for that
_LOST_S = 1.0  # a process that has died is known to be dead within this time
_ERROR_EVENTS = (b'data: {"error":', b"event: error\n")
# What the engine answers with 500 for a fault of its own. Its other 500s and 501s are about the request:
# tools without a name, an image for a model that sees none, a text to embed that is longer than a batch.
_OWN_FAULTS = ("Compute error", "Invalid input batch", "Context size has been exceeded", "failed to")


async def explained(engine: EngineProcess, reply: EngineReply) -> AsyncIterator[bytes]:
    """The bytes as they come; an error event of the engine's gives way to what is known of its cause."""
    try:
        async for piece in reply.aiter_raw():
            if piece.startswith(_ERROR_EVENTS):
                raise StreamBrokenError(await engine.failure() or _own_words(piece))
            yield piece
    except BrokenConnectionError as error:
        raise StreamBrokenError(await why(engine, error)) from error


async def failed(engine: EngineProcess, reply: EngineReply) -> SixgigError:
    """Why the engine answered with 5xx: what the disk said, else its own words.

    RefusedError where asking again would give the same.
    """
    failure = await engine.failure()
    if failure is not None:
        return RefusedError(503, failure.what, failure.numbers, failure.cure)
    try:
        told = str(json.loads(await reply.aread())["error"]["message"])[:200]
    except (BrokenConnectionError, ValueError, LookupError, TypeError):
        return ServingError("the engine failed", f"status {reply.status_code}", "ask again")
    if told.startswith(_OWN_FAULTS):
        return ServingError("the engine failed", told, "ask again")
    return RefusedError(400, "the model cannot answer this request", told)


async def why(engine: EngineProcess, error: Exception) -> SixgigError:
    """The process's own end, where it has ended; it may be known a moment after its socket closes."""
    with contextlib.suppress(TimeoutError):
        return await _loss(engine)
    return await engine.failure() or ServingError("the engine broke off", str(error), "ask again")


async def _loss(engine: EngineProcess) -> EngineLostError:
    async with asyncio.timeout(_LOST_S):
        return await asyncio.shield(engine.lost)


def _own_words(event: bytes) -> SixgigError:
    """Of an error event."""
    found = re.search(rb'"message": ?("(?:[^"\\]|\\.)*+")', event)
    told = "" if found is None else str(json.loads(found[1]))[:200]
    return ServingError("the engine failed", told, "ask again")
