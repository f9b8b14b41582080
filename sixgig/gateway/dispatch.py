"""Who answers a call, by the router's word: here, elsewhere, or here until it takes too long.

An answer is handed on only when this is settled, so nothing leaves once a byte of it was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, Self

from sixgig.errors import SixgigError
from sixgig.gateway import logs
from sixgig.gateway.answer import Answer, RefusedError, status_of
from sixgig.gateway.books import Books
from sixgig.gateway.call import Call, output_limit
from sixgig.gateway.local import Local
from sixgig.gateway.record import Record
from sixgig.gateway.upstream import UpstreamError, UpstreamRefusedError, Upstreams
from sixgig.gateway.usage import UsageWatch
from sixgig.hardware.machine import Absent
from sixgig.ledger import Exceeded, LedgerError, Limits
from sixgig.router import (
    UPSTREAM_PATHS,
    Ask,
    Attempt,
    Gate,
    Leave,
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

_OURS = 500  # below, the request itself is at fault
_NO_MONEY = Spent(0, 0)


class SpendingError(RefusedError):
    """A request may not leave: what it can cost cannot be set aside."""


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
        names = call.model, call.asked or call.model
        permit = self.gate.check(call.id, names, call.key, call.private_header)
        record.private = isinstance(permit, Private)
        match await self._decided(call, permit):
            case Refuse() as refusal:
                raise RefusedError(refusal.status, refusal.reason, "; ".join(refusal.notes), refusal.cure)
            case Leave(attempt=attempt):
                return await self._elsewhere_first(call, attempt, record, stack)
            case StayHere() as stay if stay.on_slow is not None:
                answer = await self._race(call, stay, stay.on_slow, record, stack)
            case StayHere() as stay:
                here = self._here(call, record, stack)
                answer = await self._here_first(call, here, stay.on_failure, record, stack)
        answer.notes = answer.notes or stay.notes
        return answer

    async def _decided(self, call: Call, permit: Permit | Private) -> Any:
        """The router's decision; a prompt is counted only where a rule hangs on it."""
        ask, state = self._ask(call, permit), self.local.state(call.model)
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
        """Its body is looked through only where there are rules: that takes time, and everyone waits."""
        path: UpstreamPath | Absent = Absent("there are no rules")
        fields: dict[str, Any] = {}
        if self.routing.rules:
            path, fields = _upstream_path(call), call.fields
        return Ask(
            request_id=call.id,
            model=call.model,
            upstream_path=path,
            prompt_tokens_at_most=upper_bound_tokens(call.body, fields),
            outputs=path if isinstance(path, Absent) else output_count(path, fields),
            max_tokens=output_limit(fields),
            permit=permit,
            prompt_tokens=prompt_tokens,
        )

    async def _here(self, call: Call, record: Record, stack: contextlib.AsyncExitStack) -> Answer:
        def waited(seconds: float) -> None:
            record.queue_s = seconds

        async def began() -> None:
            await record.begin(self.books)

        return await stack.enter_async_context(self.local.answer(call, waited, began, record.count_prompt))

    async def _here_first(
        self,
        call: Call,
        here: Awaitable[Answer],
        on_failure: Attempt | None,
        record: Record,
        stack: contextlib.AsyncExitStack,
    ) -> Answer:
        """Where `here` fails before its first byte, elsewhere."""
        try:
            return await here
        except SixgigError as error:
            if on_failure is None or status_of(error) < _OURS:
                raise
            await record.end(self.books)
            answer = await self._elsewhere(call, on_failure, record, stack)
            answer.notes = (f"failed here: {error}",)
            return answer

    async def _elsewhere_first(
        self, call: Call, attempt: Attempt, record: Record, stack: contextlib.AsyncExitStack
    ) -> Answer:
        """Where the upstream fails before its first byte, the model here answers, if it is here."""
        try:
            return await self._elsewhere(call, attempt, record, stack)
        except UpstreamRefusedError:  # the request itself is at fault
            raise
        except SixgigError as error:
            if not self.local.state(call.model).known:
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
        """Here; where that takes too long, elsewhere as well: the first answer is taken, the other let go."""
        record.lingers = True
        here = await stack.enter_async_context(_Try(lambda own: self._here(call, record, own)))
        await asyncio.wait({here.task}, timeout=stay.after_s)
        if here.task.done():
            return await self._here_first(call, here.task, stay.on_failure, record, stack)
        there = await stack.enter_async_context(_Try(lambda own: self._elsewhere(call, on_slow, record, own)))
        if await _first_answer(there.task, here.task) is not there.task:
            await there.drop()
            return await self._here_first(call, here.task, _other(stay.on_failure, on_slow), record, stack)
        await here.drop()
        await record.end(self.books)
        return there.task.result()

    async def _elsewhere(
        self, call: Call, attempt: Attempt, record: Record, stack: contextlib.AsyncExitStack
    ) -> Answer:
        """The upstream's answer. After 5xx it is asked once more, if that may be paid for once more."""
        try:
            return await self._asked(call, attempt, record, stack)
        except UpstreamError as error:
            if not error.may_pass:
                raise
            logs.event("asked_again", id=call.id, upstream=attempt.upstream.name, reason=error.numbers)
            try:
                return await self._asked(call, replace(attempt, again=True), record, stack)
            except SpendingError:
                raise error from None

    async def _asked(
        self, call: Call, attempt: Attempt, record: Record, stack: contextlib.AsyncExitStack
    ) -> Answer:
        """The upstream's answer, once its worst case is set aside; that counts until it is settled."""
        record.lingers = True
        try:
            over = await self.books.reserve(attempt, call.key or "", call.model, self.limits)
        except LedgerError as error:
            raise SpendingError(503, "no spending can be put down now", cure="ask again later") from error
        if over:
            raise SpendingError(402, "the spending cap is reached", _exceeded(over), "wait, or raise the cap")
        record.owe(attempt.worst_case_micros)
        watch = UsageWatch(call.stream)
        try:
            answer = await stack.enter_async_context(self.upstreams.answer(call, attempt, watch))
        except (UpstreamError, UpstreamRefusedError) as error:
            if not error.spent:
                record.owe(-attempt.worst_case_micros)
                await asyncio.shield(self.books.settle(attempt, 0))
            raise
        record.served_by, record.watch = attempt.upstream.name, watch
        stack.push_async_callback(self._settle, attempt, record)
        answer.headers["x-sixgig-cost-at-most"] = format_micros(attempt.worst_case_micros)
        return answer

    async def _settle(self, attempt: Attempt, record: Record) -> None:
        """By what the upstream reported; an answer that was cut short counts as the worst case."""
        paid = cost(attempt, record.usage.reported)
        if paid.remark and attempt.worst_case_micros:
            logs.event("upstream_cost", id=record.call.id, micros=paid.micros, remark=paid.remark)
        record.owe(paid.micros - attempt.worst_case_micros)
        await asyncio.shield(self.books.settle(attempt, paid.micros))


class _Try:
    """One of two who are asked: a task, and what its answer holds on to until the block ends."""

    def __init__(self, ask: Callable[[contextlib.AsyncExitStack], Coroutine[Any, Any, Answer]]) -> None:
        self._stack = contextlib.AsyncExitStack()
        self.task = asyncio.create_task(ask(self._stack))

    async def drop(self) -> None:
        """Let go of it all, its answer included."""
        self.task.cancel()
        await asyncio.wait({self.task})
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_why: object) -> None:
        await self.drop()


async def _first_answer(*tasks: asyncio.Task[Answer]) -> asyncio.Task[Answer] | None:
    """The first task that has an answer; None when all have failed."""
    waiting = set(tasks)
    while waiting:
        _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done() and task.exception() is None:
                return task
    return None


def _other(attempt: Attempt | None, tried: Attempt) -> Attempt | None:
    """None where it would ask the same upstream once more."""
    return None if attempt is None or attempt.upstream == tried.upstream else attempt


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
