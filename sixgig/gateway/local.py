"""One call to an engine here: checked, a slot, the model loaded, the bytes passed through."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

from sixgig.engines import BrokenConnectionError, EngineProcess, EngineReply, Fleet
from sixgig.errors import SixgigError
from sixgig.gateway import logs
from sixgig.gateway.admission import Admission
from sixgig.gateway.answer import STREAM, Answer, RefusedError, TooLongError
from sixgig.gateway.call import Call
from sixgig.gateway.choices import Several
from sixgig.gateway.counting import prompt_tokens
from sixgig.gateway.faults import FAULTS, explained, failed, why
from sixgig.gateway.grammars import GrammarGate
from sixgig.gateway.limits import check_limits
from sixgig.gateway.preparing import Prepared, ignored_header, prepared
from sixgig.gateway.slots import SlotChooser
from sixgig.gateway.stopping import told_in_stream, told_whole
from sixgig.ledger import LOCAL
from sixgig.router import LocalState

_TEMPLATE_BYTES = 1024  # what a chat template adds to a prompt, about
_JSON = "application/json"
_REFUSED = 400  # and above: nothing was evaluated
PromptCount = Callable[[], Awaitable[int | None]]


class Local:
    """The models of this machine."""

    def __init__(self, fleet: Fleet, queue: Admission, grammars: GrammarGate, chooser: SlotChooser) -> None:
        self._fleet, self._queue, self._grammars, self._chooser = fleet, queue, grammars, chooser

    def state(self, model: str) -> LocalState:
        """What the router asks of a model by any name."""
        seated = self._fleet.models.get(model)
        if seated is None:
            return LocalState(known=False)
        return LocalState(True, seated.card.context, self._queue.waiting_for(model))

    @contextlib.asynccontextmanager
    async def answer(
        self,
        call: Call,
        waited: Callable[[float], object],
        began: Callable[[], Any],
        ended: Callable[[PromptCount], Awaitable[None]],
    ) -> AsyncIterator[Answer]:
        """The engine's answer, its slot held for the time of the block.

        waited: gets the seconds in the queue; began: awaited when the engine is there; ended: when it has let
        go of the answer, with what counts the prompt's tokens. Raises SixgigError before the first byte.
        """
        card = self._fleet.models[call.model].card
        fields = check_limits(call, card)
        request = prepared(call, fields, card)
        await self._grammars.require(call.path, fields)
        call, fields = replace(call, body=request.body), {}  # read again it would take memory while it waits
        several = Several.of(call)
        asked = call if several is None else replace(call, body=several.request(call))
        slots = card.spec.sequences
        if call.stream and self._queue.is_full(call.model, slots):
            await self._check_fits(call)
        async with self._queue.enter(call.model, slots) as queue_s:
            waited(queue_s)
            async with self._fleet.lease(call.model, call.keep_alive_s) as engine:
                await began()
                async with self._answered(engine, asked, slots) as reply:
                    yield _answer(request, several, reply, explained(engine, reply))
                await ended(lambda: prompt_tokens(engine, call))

    async def count_prompt(self, call: Call) -> int | None:
        """Tokens of a chat's prompt by the model's own template and tokenizer; None where it cannot tell."""
        if not call.path.endswith("/chat/completions"):
            return None
        try:
            await self._grammars.require(call.path, call.fields)
            async with self._fleet.lease(call.model) as engine:
                return await prompt_tokens(engine, call)
        except SixgigError:  # it is asked again, and then whoever may answers
            return None

    async def _check_fits(self, call: Call) -> None:
        """Before a stream waits, for while it does its client gets a status. Raises UsageError.

        Where the model cannot count, or may not be loaded, the engine tells it later, within the stream.
        """
        seated = self._fleet.models[call.model]
        limit, engine = seated.card.context, seated.engine
        if engine is None or not engine.alive or 2 * len(call.body) + _TEMPLATE_BYTES <= limit:
            return
        n_tokens = await prompt_tokens(engine, call)
        if n_tokens is not None and n_tokens >= limit:
            raise TooLongError(n_tokens, limit, f"it has {n_tokens} tokens")

    @contextlib.asynccontextmanager
    async def _answered(self, engine: EngineProcess, call: Call, slots: int) -> AsyncIterator[EngineReply]:
        """The engine's answer below 500; a fault of its own that may pass gets a second try."""
        with self._chooser.place(call, engine, slots) as place:
            async with _sent(engine, call.path, place.body) as reply:
                if reply.status_code < FAULTS:
                    if reply.status_code < _REFUSED:
                        place.began()
                    yield reply
                    return
                failure = await failed(engine, reply)
            if isinstance(failure, RefusedError):  # by what was asked, or by the disk
                raise failure
            logs.event("asked_again", id=call.id, model=call.model, reason=str(failure))
            async with _sent(engine, call.path, place.body) as reply:
                if reply.status_code >= FAULTS:
                    raise await failed(engine, reply)
                place.began()
                yield reply


@contextlib.asynccontextmanager
async def _sent(engine: EngineProcess, path: str, body: bytes) -> AsyncIterator[EngineReply]:
    try:
        async with engine.client.stream(path, body) as reply:
            yield reply
    except BrokenConnectionError as error:
        raise await why(engine, error) from error


def _answer(
    request: Prepared, several: Several | None, reply: EngineReply, pieces: AsyncIterator[bytes]
) -> Answer:
    """Its bytes as they are, but for several answers' counts and for the reason that a stop sequence is."""
    kind = reply.headers.get("content-type", _JSON)
    streams = kind.startswith(STREAM)
    if several is not None and streams and several.whole_asked:
        kind, pieces = _JSON, several.whole(pieces)
    elif several is not None and streams:
        pieces = several.streamed(pieces)
    if request.stops:
        pieces = (told_in_stream if streams else told_whole)(pieces, request.stops)
    return Answer(reply.status_code, kind, LOCAL, pieces, headers=ignored_header(request.told))
