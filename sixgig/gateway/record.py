"""What becomes of one call: filled while it is answered, one line of the ledger when it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

from sixgig.energy import Energy
from sixgig.gateway.books import Books, storable
from sixgig.gateway.call import Call
from sixgig.gateway.usage import Usage, UsageWatch
from sixgig.hardware.machine import Absent
from sixgig.ledger import LOCAL, Entry, Outcome

COUNTING_S = 2.0


@dataclass
class Record:
    """Times are seconds since the call came. counted_prompt: tokens of a prompt whose answer did not tell.

    energy: None until an engine here has ended with it. upstream_micros: of all upstreams that were asked.
    lingers: letting go of who answered may have to wait for something.
    """

    call: Call
    private: bool = True
    served_by: str = LOCAL
    status: int = 0
    outcome: Outcome = "failed"
    queue_s: float = 0.0
    first_token_s: float | None = None
    energy: Energy | None = None
    upstream_micros: int | None = None
    began_at: float = field(default_factory=time.time)
    began_s: float = field(default_factory=time.monotonic)
    counted_prompt: int | None = None
    lingers: bool = False
    _began: bool = False
    _beginning: asyncio.Task[None] | None = None
    _ending: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.watch = UsageWatch(self.call.stream)

    @property
    def usage(self) -> Usage:
        """What the answer said of itself so far; where a stream was cut short, what was counted of it here.

        It is then as many tokens as pieces of text were passed on: the engine makes one a token, or fewer.
        """
        said = self.watch.usage
        if self.outcome == "cancelled" and not self._began and self.upstream_micros is None:
            return replace(said, prompt_tokens=0, completion_tokens=0)  # nobody was asked yet
        if self.outcome == "failed" and 400 <= self.status < 500:
            return replace(
                said, prompt_tokens=0, cached_tokens=0, completion_tokens=0
            )  # nothing was evaluated
        if self.outcome == "ok" or not self.call.stream or self.first_token_s is None:
            return said
        prompt = self.counted_prompt if said.prompt_tokens is None else said.prompt_tokens
        written = max(said.completion_tokens or 0, self.watch.written)
        return replace(said, prompt_tokens=prompt, completion_tokens=written)

    async def count_prompt(self, count: Callable[[], Awaitable[int | None]]) -> None:
        """The engine has let go of the call: have its prompt counted where a stream was cut short untold."""
        if self.call.stream and self.first_token_s is not None and self.watch.usage.prompt_tokens is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(COUNTING_S):
                    self.counted_prompt = await count()

    @property
    def joules(self) -> float | None:
        """Above idle; None where nothing was measured."""
        return None if self.energy is None or isinstance(self.energy.joules, Absent) else self.energy.joules

    @property
    def seconds(self) -> float:
        """Since the call came."""
        return time.monotonic() - self.began_s

    async def begin(self, books: Books) -> None:
        """An engine here works for it from now on. To be called once."""
        self._began = True
        if not books.monitor.blocks:
            books.monitor.begin(self.call.id)
            return
        self.lingers = True
        self._beginning = asyncio.create_task(books.begin(self.call.id))
        await asyncio.shield(self._beginning)

    async def end(self, books: Books) -> None:
        """No engine here works for it any more. Safe to call twice; goes on where its caller is cancelled."""
        if self.energy is not None or not self._began:
            return
        if self._beginning is None:
            self.energy = books.monitor.end(self.call.id)
            return
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(books, self._beginning))
        await asyncio.shield(self._ending)

    def owe(self, micros: int) -> None:
        """So much more, or less, to an upstream."""
        self.upstream_micros = (self.upstream_micros or 0) + micros

    async def metered(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same bytes; an upstream's were watched before they were changed."""
        async for piece in body:
            if self.first_token_s is None:
                self.first_token_s = self.seconds
            if self.served_by == LOCAL:
                self.watch.feed(piece)
            yield piece

    def entry(self, books: Books) -> Entry:
        """The ledger's line."""
        usage = self.usage
        return Entry(
            id=self.call.id,
            began_at=self.began_at,
            model=storable(self.call.model),
            key=self.call.key or "",
            path=self.call.path,
            served_by=self.served_by,
            status=self.status,
            outcome=self.outcome,
            private=self.private,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
            seconds=self.seconds,
            queue_s=self.queue_s,
            first_token_s=self.first_token_s,
            joules=self.joules,
            energy_source=storable(self.energy.source) if self.energy else "",
            energy_estimated=self.energy.estimated if self.energy else False,
            energy_cost_micros=books.energy_cost_micros(self.joules),
            upstream_cost_micros=self.upstream_micros,
        )

    async def _end(self, books: Books, beginning: asyncio.Task[None]) -> None:
        await beginning  # each reads the meter in a thread of its own, in either order
        self.energy = await books.end(self.call.id)
