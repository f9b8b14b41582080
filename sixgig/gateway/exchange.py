"""One call from its arrival to its line in the ledger."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from sixgig.errors import SixgigError
from sixgig.gateway import logs
from sixgig.gateway.answer import Answer, RefusedError, StreamBrokenError, status_of
from sixgig.gateway.books import Books
from sixgig.gateway.call import Call
from sixgig.gateway.dispatch import Dispatch
from sixgig.gateway.record import Record
from sixgig.gateway.tally import Tally
from sixgig.ledger import LOCAL
from sixgig.router import format_micros

_CLIENT_LEFT = 499  # as web servers log it
_BAD, _OUR_BUG = 400, 500


class Exchange:
    """answer() a call; whatever becomes of it is put down. ended: told of every call that has ended.

    first_byte_s: the longest that one may take to its first byte, a whole answer to its end; below zero, any.
    under_way: ids of the calls that have not.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        books: Books,
        tally: Tally,
        ended: Callable[[Record], object],
        first_byte_s: float,
    ) -> None:
        self._first_byte_s = first_byte_s
        self._dispatch, self._books, self._tally, self._ended = dispatch, books, tally, ended
        self.under_way: set[str] = set()
        self._one_less = asyncio.Event()

    @contextlib.asynccontextmanager
    async def answer(self, call: Call) -> AsyncIterator[Answer]:
        """The answer, for the time of the block. Raises SixgigError before its first byte."""
        record, stack = Record(call), contextlib.AsyncExitStack()
        self._tally.began(record)
        logs.prompt(call.id, call.body)
        self.under_way.add(call.id)
        try:
            answer = await self._begun(call, record, stack)
            record.status = answer.status
            answer.headers |= {"x-served-by": answer.served_by, "x-request-id": call.id}
            yield answer
            record.outcome = "ok" if answer.status < _BAD else "failed"
        except (asyncio.CancelledError, GeneratorExit):
            record.status, record.outcome = record.status or _CLIENT_LEFT, "cancelled"
            raise
        except Exception as error:
            status = status_of(error) if isinstance(error, SixgigError) else _OUR_BUG
            record.status = status if record.first_token_s is None else record.status
            raise
        finally:
            closing = self._close(record, stack)
            # What waits for nothing cannot be cancelled half way, and needs no task of its own.
            waits = record.lingers or record.outcome != "ok"
            await (asyncio.shield(closing) if waits else closing)

    async def _begun(self, call: Call, record: Record, stack: contextlib.AsyncExitStack) -> Answer:
        """The answer with its first byte, or all of it, in time."""
        limit_s = self._first_byte_s if self._first_byte_s >= 0 else None
        try:
            async with asyncio.timeout(limit_s):
                answer = await stack.enter_async_context(self._dispatch.answer(call, record))
                answer.body = record.metered(answer.body)
                if not answer.streamed:
                    await self._whole(answer, record)
                return answer
        except TimeoutError as error:
            shorter = "send a shorter prompt" if call.stream else "ask for a stream or a shorter answer"
            cure = f"{shorter}, or let the owner raise first_byte in [timeouts]"
            raise RefusedError(504, "no answer in time", f"{self._first_byte_s:g} s", cure) from error

    async def all_ended(self) -> None:
        """Returns when no call is under way any more, and all are put down."""
        while self.under_way:
            self._one_less.clear()
            await self._one_less.wait()

    async def _whole(self, answer: Answer, record: Record) -> None:
        """All of a body that is no stream; what it took can be told with it."""
        try:
            body = b"".join([piece async for piece in answer.body])
        except StreamBrokenError as error:  # nothing of it was sent yet
            raise error.reason from error
        if answer.served_by == LOCAL:
            await record.end(self._books)
        answer.headers |= _costs(record, self._books)
        answer.body = _once(body)

    async def _close(self, record: Record, stack: contextlib.AsyncExitStack) -> None:
        """Let go of who answered and put it down, also where the client does not wait for that."""
        try:
            await stack.aclose()
        finally:
            await self._put_down(record)

    async def _put_down(self, record: Record) -> None:
        try:
            await record.end(self._books)
            self._books.record(record.entry(self._books))
        finally:
            self.under_way.discard(record.call.id)
            self._one_less.set()
            self._tally.ended(record)
            self._ended(record)


def _costs(record: Record, books: Books) -> dict[str, str]:
    """Headers: joules above idle and what they cost, where both are known."""
    headers = {}
    if record.joules is not None and record.energy is not None:
        label = " estimated" if record.energy.estimated else ""
        headers["x-sixgig-joules"] = f"{record.joules:.3f}{label}"
    micros = books.energy_cost_micros(record.joules)
    if micros is not None:
        headers["x-sixgig-cost"] = format_micros(micros)
    return headers


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
