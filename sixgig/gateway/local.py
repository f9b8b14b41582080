"""One call to an engine here: a slot, the model loaded, the bytes passed through."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import httpx

from sixgig.engines import EngineProcess, Fleet
from sixgig.errors import EngineLostError, ServingError, SixgigError
from sixgig.gateway.admission import Admission
from sixgig.gateway.answer import STREAM, Answer, RefusedError, StreamBrokenError
from sixgig.gateway.call import Call
from sixgig.gateway.choices import Several
from sixgig.gateway.limits import check_limits
from sixgig.gateway.preparing import Prepared, ignored_header, prepared
from sixgig.gateway.stopping import told_in_stream, told_whole
from sixgig.ledger import LOCAL

_LOST_S = 1.0  # a process that has died is known to be dead within this time
_BROKEN = (httpx.HTTPError, RuntimeError)  # the latter of a connection that the fleet has closed already
_JSON = "application/json"
_HEADERS = {"content-type": _JSON}
PromptCount = Callable[[], Awaitable[int | None]]
# Endpoints whose prompts the engine counts when asked, and those of which it tokenises a text.
_COUNTING = ("/v1/chat/completions", "/v1/responses")
_TEXT_FIELDS = {"/v1/completions": "prompt"}
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
        self,
        call: Call,
        waited: Callable[[float], object],
        began: Callable[[], Awaitable[None]],
        ended: Callable[[PromptCount], Awaitable[None]],
    ) -> AsyncIterator[Answer]:
        """The engine's answer, its slot held for the time of the block.

        waited: gets the seconds in the queue; began: awaited when the engine is there; ended: when it has let
        go of the answer, with what counts the prompt's tokens. Raises SixgigError before the first byte.
        """
        card = self.fleet.models[call.model].card
        check_limits(call, card)
        request = prepared(call, card)
        call = replace(call, body=request.body)
        several = Several.of(call)
        body = call.body if several is None else several.request(call)
        slots = card.spec.sequences
        async with self.queue.enter(call.model, slots) as queue_s:
            waited(queue_s)
            async with self.fleet.lease(call.model, call.keep_alive_s) as engine:
                await began()
                async with _sent(engine, call.path, body) as response:
                    if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                        raise await _failed(engine, response)
                    yield _answer(request, several, response, _explained(engine, response))
                await ended(lambda: _counted_prompt(engine, call))

    async def count_prompt(self, call: Call) -> int | None:
        """Tokens of a chat's prompt by the model's own template and tokenizer; None where it cannot tell."""
        if not call.path.endswith("/chat/completions"):
            return None
        try:
            async with self.fleet.lease(call.model) as engine:
                return await _counted_prompt(engine, call)
        except SixgigError:  # it is asked again, and then whoever may answers
            return None


async def _counted_prompt(engine: EngineProcess, call: Call) -> int | None:
    path, body = f"{call.path}/input_tokens", call.body
    if call.path in _TEXT_FIELDS:
        text = call.fields.get(_TEXT_FIELDS[call.path])
        if not isinstance(text, str):
            return None
        path, body = "/tokenize", json.dumps({"content": text, "add_special": True}).encode()
    elif call.path not in _COUNTING:
        return None
    try:
        response = await engine.client.post(path, content=body, headers=_HEADERS)
        counted = response.raise_for_status().json()
    except (*_BROKEN, ValueError):
        return None
    tokens = counted.get("input_tokens", len(counted.get("tokens", ())))
    return tokens if isinstance(tokens, int) else None


def _answer(
    request: Prepared, several: Several | None, response: httpx.Response, pieces: AsyncIterator[bytes]
) -> Answer:
    """Its bytes as they are, but for several answers' counts and for the reason that a stop sequence is."""
    kind = response.headers.get("content-type", _JSON)
    streams = kind.startswith(STREAM)
    if several is not None and streams and several.whole_asked:
        kind, pieces = _JSON, several.whole(pieces)
    elif several is not None and streams:
        pieces = several.streamed(pieces)
    if request.stops:
        pieces = (told_in_stream if streams else told_whole)(pieces, request.stops)
    return Answer(response.status_code, kind, LOCAL, pieces, headers=ignored_header(request.told))


@contextlib.asynccontextmanager
async def _sent(engine: EngineProcess, path: str, body: bytes) -> AsyncIterator[httpx.Response]:
    request = engine.client.build_request("POST", path, content=body, headers=_HEADERS)
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
