"""The models of one gateway: loaded on demand within one budget, shared, sent away when idle.

Belongs to one event loop. What decides who must leave is `seating`; what runs is `process`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sixgig.engines.card import ModelCard
from sixgig.engines.order import EngineOrder
from sixgig.engines.process import EngineProcess
from sixgig.engines.seated import Seated
from sixgig.engines.seating import Appetite, NoRoom, Resident, Seat, Wait, seat
from sixgig.errors import BudgetError, ServingError, SixgigError
from sixgig.units import format_bytes

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
RAISES = 3  # of one grant, before the load fails
STEADY_S = 60.0  # an engine that ran so long had no fault in starting


@dataclass(frozen=True)
class Budget:
    """What all engine processes together may take; machine: a machine file, for placing on its GPU."""

    ram_bytes: int
    vram_bytes: int = 0
    machine: Path | None = None


class Fleet:
    """lease() a model to use it. changed: called after every load, unload and loss."""

    def __init__(
        self,
        cards: Iterable[ModelCard],
        budget: Budget,
        sockets: Path,
        *,
        keep_alive_s: float,
        threads: int,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self.budget = budget
        self._sockets, self._numbers = sockets, itertools.count()
        self._keep_alive_s, self._threads = keep_alive_s, threads
        self.models = {card.name: Seated(card, keep_alive_s=self._keep_alive(card)) for card in cards}
        self._changed = changed
        self._seating = asyncio.Lock()
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @contextlib.asynccontextmanager
    async def lease(self, name: str, keep_alive_s: float | None = None) -> AsyncIterator[EngineProcess]:
        """The model's engine, loaded first where it is not; it stays for the time of the block.

        keep_alive_s: how long it stays afterwards, default the model's; below zero, for ever. Raises KeyError
        for no such model, ServingError, or what loading raised.
        """
        seated = self.models[name]
        while seated.wanted_away:
            await self._news.wait()
        # From here to the running engine nothing may send it away: who waits for a load counts as a user.
        seated.users += 1
        if keep_alive_s is not None:
            seated.keep_alive_s = keep_alive_s
        try:
            yield await self._engine(seated)
        finally:
            seated.users -= 1
            seated.used_at_s = time.monotonic()
            self._tell()

    async def unload(self, name: str) -> None:
        """Send a model away as soon as nobody uses it."""
        seated = self.models[name]
        if seated.engine is not None or seated.loading is not None:
            seated.keep_alive_s = 0.0
            self._tell()

    async def run(self) -> None:
        """Send models away when their time is over; until cancelled."""
        while True:
            now = time.monotonic()
            for seated in self.models.values():
                if seated.deadline_s is not None and seated.deadline_s <= now:
                    self._leave(seated)
            deadlines = [s.deadline_s for s in self.models.values() if s.deadline_s is not None]
            pause = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
            # Not wait_for: in Python 3.11 it swallows a cancellation that comes with the news.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()

    async def close(self) -> None:
        """End every process at once."""
        self._closed = True
        self._tell()
        loads = [s.loading for s in self.models.values() if s.loading is not None]
        for task in (*self._tasks, *loads):
            task.cancel()
        await _all_done(loads)
        await _all_done([self._leave(s) for s in self.models.values() if s.engine or s.leaving])

    async def _engine(self, seated: Seated) -> EngineProcess:
        """The running engine; several who ask while it loads wait for the same load."""
        while not self._closed:
            if seated.leaving is not None:
                await _all_done([seated.leaving])
            elif seated.engine is None:
                return await self._loaded(seated)
            elif seated.engine.alive:
                return seated.engine
            else:  # ended this moment; _revive will take note
                await self._news.wait()
        raise _stopping()

    async def _loaded(self, seated: Seated) -> EngineProcess:
        """The engine, once a load has ended that nobody's going away ends; its error goes to all who wait."""
        load = seated.loading
        if load is None:
            load = seated.loading = asyncio.create_task(self._load(seated))
            load.add_done_callback(lambda load: load.cancelled() or load.exception())
        await _all_done([load])
        if load.cancelled():
            raise _stopping()
        return load.result()

    async def _load(self, seated: Seated) -> EngineProcess:
        try:
            async with self._seating:
                return await self._start(seated, await self._make_room(seated.card))
        finally:
            seated.loading, seated.loaded_fraction = None, 0.0
            self._tell()

    async def _start(self, seated: Seated, granted_bytes: int) -> EngineProcess:
        """Load with the grant; where the estimate was too low again, larger if it may be, else paged.

        A process tells what it needs as it finds itself, which is not the same twice: hence RAISES.
        """
        whole = granted_bytes >= seated.card.whole_bytes
        for tried in range(RAISES):
            try:
                return await self._spawn(seated, granted_bytes, never_page=whole and not tried)
            except BudgetError as error:
                smallest = error.smallest_bytes
                if smallest and granted_bytes < smallest <= self._limit(seated.card):
                    granted_bytes = await self._make_room(seated.card, Appetite(smallest, smallest, smallest))
                elif tried or not (whole and seated.card.paged_bytes):
                    raise
        return await self._spawn(seated, granted_bytes)

    async def _spawn(self, seated: Seated, granted_bytes: int, never_page: bool = False) -> EngineProcess:
        def progress(fraction: float) -> None:
            seated.loaded_fraction = fraction

        seated.granted_bytes = granted_bytes
        try:
            order = replace(self._order(seated.card, granted_bytes), never_page=never_page)
            engine = await EngineProcess.start(order, progress)
        except BaseException:
            seated.granted_bytes = 0
            raise
        seated.engine, seated.used_at_s, seated.changed_at = engine, time.monotonic(), time.time()
        self._follow(seated, engine)
        return engine

    def _order(self, card: ModelCard, granted_bytes: int) -> EngineOrder:
        taken = sum(s.granted_bytes > 0 and s.card is not card for s in self.models.values())
        return EngineOrder(
            name=card.name,
            model=str(card.spec.path),
            socket=str(self._sockets / f"{next(self._numbers)}.sock"),
            ram_bytes=granted_bytes,
            context=card.context,
            sequences=card.spec.sequences,
            threads=self._threads,
            ubatch=card.ubatch,
            vram_bytes=0 if taken else self.budget.vram_bytes,
            machine=None if self.budget.machine is None else str(self.budget.machine),
            pooling=card.pooling,
            adapter=None if card.spec.adapter is None else str(card.spec.adapter),
        )

    def _limit(self, card: ModelCard) -> int:
        """The most that this model may ever be granted."""
        return min(card.spec.ram_bytes or self.budget.ram_bytes, self.budget.ram_bytes)

    async def _make_room(self, card: ModelCard, appetite: Appetite | None = None) -> int:
        """Bytes granted, when those who must leave have left. Raises BudgetError where it can never fit."""
        try:
            while True:
                match self._seat(card, appetite):
                    case Seat(granted, leaving):
                        await _all_done([self._leave(self.models[name]) for name in leaving])
                        return granted
                    case NoRoom(needed, room):
                        numbers = f"{format_bytes(needed)} needed, {format_bytes(room)} allowed"
                        own = card.spec.ram_bytes is not None and room == card.spec.ram_bytes
                        cure = f"raise ram of [models.{card.name}]" if own else "raise --ram"
                        raise BudgetError(f"{card.name} does not fit", numbers, cure)
                    case Wait(names):
                        for name in names:
                            self.models[name].wanted_away = True
                        await self._news.wait()
        finally:
            for seated in self.models.values():
                seated.wanted_away = False
            self._tell()

    def _seat(self, card: ModelCard, appetite: Appetite | None = None) -> Seat | Wait | NoRoom:
        limit = self._limit(card)
        appetite = appetite or Appetite.of(card.whole_bytes, card.paged_bytes, limit)
        if appetite.least_bytes > limit:
            return NoRoom(appetite.least_bytes, limit)
        return seat(self.budget.ram_bytes, self._residents(), appetite)

    def _residents(self) -> list[Resident]:
        """Those who hold a grant; one that is leaving holds it until its process has ended."""
        return [
            Resident(
                name, s.granted_bytes, s.users > 0 and s.leaving is None, s.used_at_s, s.keep_alive_s < 0
            )
            for name, s in self.models.items()
            if s.engine is not None or s.leaving is not None
        ]

    def _leave(self, seated: Seated) -> asyncio.Task[None]:
        """From now on nobody gets its engine; its grant is free when the task is done."""
        if seated.leaving is None:
            engine, seated.engine = seated.engine, None
            assert engine is not None
            seated.keep_alive_s = self._keep_alive(seated.card)
            seated.leaving = asyncio.create_task(self._end(seated, engine))
        return seated.leaving

    async def _end(self, seated: Seated, engine: EngineProcess) -> None:
        await engine.stop()
        seated.leaving, seated.granted_bytes, seated.changed_at = None, 0, time.time()
        self._tell()

    def _keep_alive(self, card: ModelCard) -> float:
        return self._keep_alive_s if card.spec.keep_alive_s is None else card.spec.keep_alive_s

    def _follow(self, seated: Seated, engine: EngineProcess) -> None:
        task = asyncio.create_task(self._revive(seated, engine))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _revive(self, seated: Seated, engine: EngineProcess) -> None:
        """When the process ends by itself, note why and start it anew, later each time it fails again."""
        loss = await asyncio.shield(engine.lost)
        if seated.engine is not engine:
            return
        seated.engine, seated.granted_bytes, seated.changed_at = None, 0, time.time()
        steady = time.monotonic() - engine.ready_at_s > STEADY_S
        seated.last_loss, seated.losses = loss, 1 if steady else seated.losses + 1
        self._tell()
        await engine.stop()
        await asyncio.sleep(min(FIRST_PAUSE_S * 2.0 ** (seated.losses - 1), LONGEST_PAUSE_S))
        if seated.engine is None and self._has_free_seat(seated.card):
            with contextlib.suppress(SixgigError):
                await self._loaded(seated)

    def _has_free_seat(self, card: ModelCard) -> bool:
        """Whether nobody would have to leave: a start that no request asked for takes no other's place."""
        place = self._seat(card)
        return isinstance(place, Seat) and not place.leaving

    def _tell(self) -> None:
        """Wake all who wait for news. No await stands between what they looked at and their wait."""
        news, self._news = self._news, asyncio.Event()
        news.set()
        self._changed()


async def _all_done(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """However they end; who is cancelled here leaves them running."""
    if tasks:
        await asyncio.wait(tasks)


def _stopping() -> ServingError:
    return ServingError("the server is stopping", cure="ask again when it is back")
