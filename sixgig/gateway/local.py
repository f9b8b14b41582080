"""One call to an engine here: a slot, the model loaded, the bytes passed through."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

from sixgig.engines import BrokenConnectionError, EngineProcess, EngineReply, Fleet
from sixgig.errors import EngineLostError, ServingError, SixgigError, UsageError
from sixgig.gateway.admission import Admission
from sixgig.gateway.answer import Answer, RefusedError, StreamBrokenError
from sixgig.gateway.call import Call
from sixgig.gateway.grammars import GrammarGate
from sixgig.gateway.limits import check_limits
from sixgig.gateway.slots import SlotChooser
from sixgig.ledger import LOCAL

_COUNT_S = 5.0  # a prompt that takes longer to count is left to the engine
_TEMPLATE_BYTES = 1024  # what a chat template adds to a prompt, about
_LOST_S = 1.0  # a process that has died is known to be dead within this time
_JSON = "application/json"
_REFUSED, _FAULTS = 400, 500  # and above; the latter the engine's own, or what it takes for that
_ERROR_EVENTS = (b'data: {"error":', b"event: error\n")
# What the engine answers with 500 for a fault of its own. Its other 500s and 501s are about the request:
# tools without a name, an image for a model that sees none, a text to embed that is longer than a batch.
_OWN_FAULTS = ("Compute error", "Invalid input batch", "Context size has been exceeded", "failed to")


class Local:
    """The models of this machine."""

    def __init__(
        self, fleet: Fleet, queue: Admission, grammars: GrammarGate, chooser: SlotChooser
    ) -> None:
        self.fleet, self.queue, self._grammars, self._chooser = fleet, queue, grammars, chooser

    @contextlib.asynccontextmanager
    async def answer(
        self, call: Call, waited: Callable[[float], object], began: Callable[[], Any]
    ) -> AsyncIterator[Answer]:
        """The engine's answer, its slot held for the time of the block.

        waited: gets the seconds in the queue; began: awaited when the engine is there. Raises SixgigError
        before the first byte.
        """
        card = self.fleet.models[call.model].card
        await self._grammars.require(call.path, check_limits(call, card))
        slots = card.spec.sequences
        if call.stream and self.queue.is_full(call.model, slots):
            await self._check_fits(call)
        async with self.queue.enter(call.model, slots) as queue_s:
            waited(queue_s)
            async with self.fleet.lease(call.model, call.keep_alive_s) as engine:
                await began()
                async with self._sent(engine, call, slots) as reply:
                    if reply.status_code >= _FAULTS:
                        raise await _failed(engine, reply)
                    kind = reply.headers.get("content-type", _JSON)
                    yield Answer(reply.status_code, kind, LOCAL, _explained(engine, reply))

    @contextlib.asynccontextmanager
    async def _sent(self, engine: EngineProcess, call: Call, slots: int) -> AsyncIterator[EngineReply]:
        with self._chooser.place(call, engine, slots) as place:
            try:
                async with engine.client.stream(call.path, place.body) as reply:
                    if reply.status_code < _REFUSED:
                        place.began()
                    yield reply
            except BrokenConnectionError as error:
                raise await _why(engine, error) from error
    async def _check_fits(self, call: Call) -> None:
        """Before a stream waits, for while it does its client gets a status. Raises UsageError.

        Where the model cannot count, or may not be loaded, the engine tells it later, within the stream.
        """
        seated = self.fleet.models[call.model]
        limit, engine = seated.card.context, seated.engine
        if engine is None or not engine.alive or 2 * len(call.body) + _TEMPLATE_BYTES <= limit:
            return
        with contextlib.suppress(
            BrokenConnectionError, TimeoutError, ValueError, AttributeError, LookupError
        ):
            async with asyncio.timeout(_COUNT_S):
                n_tokens = await _count(engine, call)
            if n_tokens is not None and n_tokens >= limit:
                numbers = f"{n_tokens} tokens, {limit} available"
                raise UsageError("the request exceeds the available context size", numbers, "shorten it")

    async def count_prompt(self, call: Call) -> int | None:
        """Tokens of a chat's prompt by the model's own template and tokenizer; None where it cannot tell."""
        if not call.path.endswith("/chat/completions"):
            return None
        try:
            await self._grammars.require(call.path, call.fields)
            async with self.fleet.lease(call.model) as engine:
                return await _count(engine, call)
        except (SixgigError, BrokenConnectionError, ValueError, AttributeError):
            return None  # it is asked again, and then whoever may answers


async def _count(engine: EngineProcess, call: Call) -> int | None:
    """Tokens of the prompt as the engine makes them. Raises what reading its answer may."""
    if call.path.endswith("/completions") and not call.path.endswith("/chat/completions"):
        prompt = call.fields.get("prompt")
        if not isinstance(prompt, str):
            return None
        document = {"content": prompt, "add_special": True}
        return len((await engine.client.post("/tokenize", json=document)).json()["tokens"])
    counts = "count_tokens" if call.path.endswith("/messages") else "input_tokens"
    reply = await engine.client.post(f"{call.path}/{counts}", content=call.body)
    tokens = reply.json().get("input_tokens")
    return tokens if isinstance(tokens, int) else None


async def _explained(engine: EngineProcess, reply: EngineReply) -> AsyncIterator[bytes]:
    """The bytes as they come; an error event of the engine's gives way to what is known of its cause."""
    try:
        async for piece in reply.aiter_raw():
            if piece.startswith(_ERROR_EVENTS):
                raise StreamBrokenError(await engine.failure() or _own_words(piece))
            yield piece
    except BrokenConnectionError as error:
        raise StreamBrokenError(await _why(engine, error)) from error


async def _failed(engine: EngineProcess, reply: EngineReply) -> SixgigError:
    """Why the engine answered with 5xx: what the disk said, else its own words."""
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


def _own_words(event: bytes) -> SixgigError:
    """Of an error event."""
    found = re.search(rb'"message": ?("(?:[^"\\]|\\.)*+")', event)
    told = "" if found is None else str(json.loads(found[1]))[:200]
    return ServingError("the engine failed", told, "ask again")


async def _why(engine: EngineProcess, error: Exception) -> SixgigError:
    """The process's own end, where it has ended; it may be known a moment after its socket closes."""
    with contextlib.suppress(TimeoutError):
        return await _loss(engine)
    return await engine.failure() or ServingError("the engine broke off", str(error), "ask again")


async def _loss(engine: EngineProcess) -> EngineLostError:
    async with asyncio.timeout(_LOST_S):
        return await asyncio.shield(engine.lost)
