"""Who answers a call, by the router's word: here, elsewhere, or here until it takes too long.

An answer is handed on only when this is settled, so nothing leaves once a byte of it was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from sixgig.errors import SixgigError
from sixgig.hardware.machine import Absent
from sixgig.ledger import Exceeded, LedgerError, Limits
from sixgig.router import (
    UPSTREAM_PATHS,
    Ask,
    Attempt,
    Gate,
    Leave,
    LocalState,
    Permit,
    Private,
    Refuse,
    Routing,
    Spent,
    UpstreamPath,
    cost,
    decide,
    format_micros,
    needs_count,
    output_count,
    upper_bound_tokens,
)
from sixgig.router import Local as StayHere
from sixgig.server.answer import Answer, RefusedError
from sixgig.server.books import Books
from sixgig.server.call import Call
from sixgig.server.local import Local
from sixgig.server.record import Record
from sixgig.server.upstream import UpstreamError, Upstreams

_NO_MONEY = Spent(0, 0)


class Dispatch:
    """Finds the one who answers. routing: the owner's rules; gate: what is private."""

    def __init__(
        self, local: Local, upstreams: Upstreams, routing: Routing, gate: Gate, books: Books, limits: Limits
    ) -> None:
        self.local, self.upstreams, self.books = local, upstreams, books
        self.routing, self.gate, self.limits = routing, gate, limits

    @contextlib.asynccontextmanager
    async def answer(self, call: Call, record: Record) -> AsyncIterator[Answer]:
        """The answer of whoever gives it, for the block's time. Raises SixgigError before its first byte."""
        async with contextlib.AsyncExitStack() as stack:
            yield await self._find(call, record, stack)

    async def _find(self, call: Call, record: Record, stack: contextlib.AsyncExitStack) -> Answer:
        permit = self.gate.check(call.id, (call.model,), call.key, call.private_header)
        record.private = isinstance(permit, Private)
        match await self._decided(call, permit):
            case Refuse() as refusal:
                raise RefusedError(refusal.status, refusal.reason, "; ".join(refusal.notes), refusal.cure)
            case Leave(attempt=attempt):
                return await self._elsewhere_first(call, attempt, record, stack)
            case StayHere() as stay if stay.on_slow is not None:
                answer = await self._race(call, stay, stay.on_slow, record, stack)
            case StayHere() as stay:
                answer = await self._here_first(call, stay, record, stack)
        answer.notes = answer.notes or stay.notes
        return answer

    async def _decided(self, call: Call, permit: Permit | Private) -> Any:
        """The router's decision; a prompt is counted only where a rule hangs on it."""
        ask, state = self._ask(call, permit), self._state(call)
        if not self.routing.rules:
            return decide(ask, state, self.routing, _NO_MONEY)
        try:
            spent = await self.books.spent_now(self.limits)
        except LedgerError:  # what cannot be put down may not be spent
            return decide(_kept(ask), state, self.routing, _NO_MONEY)
        if needs_count(ask, state, self.routing):
            counted = await self.local.count_prompt(call)
            ask = self._ask(call, permit, counted)
        return decide(ask, state, self.routing, spent)

    def _ask(self, call: Call, permit: Permit | Private, prompt_tokens: int | None = None) -> Ask:
        path = _upstream_path(call)
        return Ask(
            request_id=call.id,
            model=call.model,
            upstream_path=path,
            prompt_tokens_at_most=upper_bound_tokens(len(call.body)),
            outputs=path if isinstance(path, Absent) else output_count(path, call.fields),
            max_tokens=call.max_tokens,
            permit=permit,
            prompt_tokens=prompt_tokens,
        )

    def _state(self, call: Call) -> LocalState:
        seated = self.local.fleet.models.get(call.model)
        if seated is None:
            return LocalState(known=False)
        return LocalState(True, seated.card.context, self.local.queue.waiting_for(call.model))

    async def _here(self, call: Call, record: Record, stack: contextlib.AsyncExitStack) -> Answer:
        def waited(seconds: float) -> None:
            record.queue_s = seconds

        async def began() -> None:
            await record.begin(self.books)

        return await stack.enter_async_context(self.local.answer(call, waited, began))

    async def _here_first(
        self, call: Call, stay: StayHere, record: Record, stack: contextlib.AsyncExitStack
    ) -> Answer:
        try:
            return await self._here(call, record, stack)
        except SixgigError as error:
            if stay.on_failure is None:
                raise
            await record.end(self.books)
            answer = await self._elsewhere(call, stay.on_failure, record, stack)
            answer.notes = (f"failed here: {error}",)
            return answer

    async def _elsewhere_first(
        self, call: Call, attempt: Attempt, record: Record, stack: contextlib.AsyncExitStack
    ) -> Answer:
        """Where the upstream fails before its first byte, the model here answers, if it is here."""
        try:
            return await self._elsewhere(call, attempt, record, stack)
        except SixgigError as error:
            if not self._state(call).known:
                raise
            answer = await self._here(call, record, stack)
            answer.notes = (str(error),)
            return answer

    async def _race(
        self,
        call: Call,
        stay: StayHere,
        on_slow: Attempt,
        record: Record,
        stack: contextlib.AsyncExitStack,
    ) -> Answer:
        """Here; where that takes too long, elsewhere, while it goes on here in case the other fails."""
        own = await stack.enter_async_context(contextlib.AsyncExitStack())
        here = asyncio.create_task(self._here_first(call, stay, record, own))
        elsewhere: Answer | None = None
        try:
            done, _ = await asyncio.wait({here}, timeout=stay.after_s)
            if not done:
                with contextlib.suppress(UpstreamError, LedgerError, RefusedError):
                    elsewhere = await self._elsewhere(call, on_slow, record, stack)
            return elsewhere or await here
        finally:
            if elsewhere is not None or not here.done():
                here.cancel()
                await asyncio.gather(here, return_exceptions=True)
                await own.aclose()

    async def _elsewhere(
        self, call: Call, attempt: Attempt, record: Record, stack: contextlib.AsyncExitStack
    ) -> Answer:
        """The upstream's answer, once its worst case is set aside; that counts in full until it is settled."""
        over = await self.books.reserve(attempt, call.key or "", call.model, self.limits)
        if over:
            raise RefusedError(402, "the spending cap is reached", _exceeded(over), "wait, or raise the cap")
        record.upstream_micros = attempt.worst_case_micros
        try:
            answer = await stack.enter_async_context(self.upstreams.answer(call, attempt, record.watch))
        except UpstreamError as error:
            if not error.spent:
                record.upstream_micros = 0
                await self.books.settle(attempt, 0)
            raise
        await record.end(self.books)
        record.served_by = attempt.upstream.name
        stack.push_async_callback(self._settle, attempt, record)
        answer.headers["x-sixgig-cost-at-most"] = format_micros(attempt.worst_case_micros)
        return answer

    async def _settle(self, attempt: Attempt, record: Record) -> None:
        """By what the upstream reported; an answer that was cut short counts as the worst case."""
        paid = cost(attempt, record.usage.reported)
        record.upstream_micros = paid.micros
        await asyncio.shield(self.books.settle(attempt, paid.micros))


def _upstream_path(call: Call) -> UpstreamPath | Absent:
    if call.api == "anthropic":
        return Absent("upstreams are asked in OpenAI's protocol only")
    path = call.path.removeprefix("/v1/")
    return path if path in UPSTREAM_PATHS else Absent(f"no upstream has {call.path}")


def _kept(ask: Ask) -> Ask:
    return replace(ask, permit=Private("the ledger cannot be written, so no spending can be put down"))


def _exceeded(over: tuple[Exceeded, ...]) -> str:
    return "; ".join(
        f"{format_micros(cap.spent_micros)} of {format_micros(cap.limit_micros)} this {cap.period}, "
        f"{format_micros(cap.asked_micros)} asked"
        for cap in over
    )
