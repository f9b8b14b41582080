"""The models of one gateway: loaded on demand within one budget, shared, sent away when idle.

Belongs to one event loop. What decides who must leave is `seating`; what runs is `process`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sixgig.engines.card import ModelCard
from sixgig.engines.order import EngineOrder
from sixgig.engines.process import EngineProcess
from sixgig.engines.seating import Appetite, NoRoom, Resident, Seat, seat
from sixgig.errors import BudgetError, EngineLostError, ServingError, SixgigError
from sixgig.units import format_bytes

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
STEADY_S = 60.0  # an engine that ran so long had no fault in starting


@dataclass(frozen=True)
class Budget:
    """What all engine processes together may take; machine: a machine file, for placing on its GPU."""

    ram_bytes: int
    vram_bytes: int = 0
    machine: Path | None = None


@dataclass
class Seated:
    """One model's place in the fleet. `deadline_s`: when it leaves if nobody asks; None while busy or for ever."""

    card: ModelCard
    engine: EngineProcess | None = None
    granted_bytes: int = 0
    users: int = 0
    used_at_s: float = 0.0
    keep_alive_s: float = 0.0
    loading: asyncio.Task[EngineProcess] | None = None
    loaded_fraction: float = 0.0
    wanted_away: bool = False
    losses: int = 0
    last_loss: EngineLostError | None = None
    changed_at: float = field(default_factory=time.time)

    @property
    def state(self) -> str:
        """In one word."""
        if self.loading is not None:
            return "loading"
        return "ready" if self.engine is not None and self.engine.alive else "unloaded"

    @property
    def deadline_s(self) -> float | None:
        """When it leaves if nobody asks; None while it is busy, not loaded, or stays for ever."""
        if self.engine is None or self.users or self.keep_alive_s < 0:
            return None
        return self.used_at_s + self.keep_alive_s


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
        ubatch: int = 512,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self.budget = budget
        self.models = {card.name: Seated(card) for card in cards}
        self._sockets, self._numbers = sockets, itertools.count()
        self._keep_alive_s, self._threads, self._ubatch = keep_alive_s, threads, ubatch
        self._changed = changed
        self._seating = asyncio.Lock()
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @contextlib.asynccontextmanager
    async def lease(self, name: str, keep_alive_s: float | None = None) -> AsyncIterator[EngineProcess]:
        """The model's engine, loaded first where it is not; it stays for the time of the block.

        keep_alive_s: how long it stays afterwards, default the model's; below zero, for ever. Raises KeyError
        for no such model, ServingError, or what loading raised.
        """
        seated = self.models[name]
        engine = await self._engine(seated)
        seated.users += 1
        if keep_alive_s is not None:
            seated.keep_alive_s = keep_alive_s
        try:
            yield engine
        finally:
            seated.users -= 1
            seated.used_at_s = time.monotonic()
            await asyncio.shield(self._tell())

    async def unload(self, name: str) -> None:
        """Send a model away as soon as nobody uses it."""
        seated = self.models[name]
        seated.keep_alive_s = 0.0
        await self._tell()

    async def run(self) -> None:
        """Send models away when their time is over; until cancelled."""
        while True:
            now = time.monotonic()
            for seated in self.models.values():
                if seated.deadline_s is not None and seated.deadline_s <= now:
                    await self._send_away(seated)
            deadlines = [s.deadline_s for s in self.models.values() if s.deadline_s is not None]
            pause = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
            async with self._news:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), pause)

    async def close(self) -> None:
        """End every process at once."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        loads = [s.loading for s in self.models.values() if s.loading is not None]
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        await asyncio.gather(*(self._send_away(s) for s in self.models.values() if s.engine is not None))

    async def _engine(self, seated: Seated) -> EngineProcess:
        """The running engine; several who ask while it loads wait for the same load."""
        while True:
            if self._closed:
                raise ServingError("the server is stopping", cure="ask again when it is back")
            if seated.engine is not None and seated.engine.alive and not seated.wanted_away:
                return seated.engine
            if seated.wanted_away:
                async with self._news:
                    await self._news.wait()
                continue
            if seated.loading is None:
                seated.loading = asyncio.create_task(self._load(seated))
            return await asyncio.shield(seated.loading)

    async def _load(self, seated: Seated) -> EngineProcess:
        try:
            async with self._seating:
                engine = await self._start(seated, await self._make_room(seated.card))
        finally:
            seated.loading, seated.loaded_fraction = None, 0.0
            await self._tell()
        self._follow(seated, engine)
        return engine

    async def _start(self, seated: Seated, granted_bytes: int) -> EngineProcess:
        """Load with the grant; once more with a larger one where the estimate was too small."""
        try:
            return await self._spawn(seated, granted_bytes)
        except BudgetError as error:
            smallest = getattr(error, "smallest_bytes", None)
            if not smallest or smallest > self._limit(seated.card):
                raise
            larger = Appetite(smallest, smallest, smallest)
            return await self._spawn(seated, await self._make_room(seated.card, larger))

    async def _spawn(self, seated: Seated, granted_bytes: int) -> EngineProcess:
        def progress(fraction: float) -> None:
            seated.loaded_fraction = fraction

        seated.granted_bytes = granted_bytes
        try:
            engine = await EngineProcess.start(self._order(seated.card, granted_bytes), progress)
        except BaseException:
            seated.granted_bytes = 0
            raise
        keep = seated.card.spec.keep_alive_s
        seated.engine, seated.used_at_s = engine, time.monotonic()
        seated.keep_alive_s = self._keep_alive_s if keep is None else keep
        seated.changed_at = time.time()
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
            ubatch=self._ubatch,
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
        appetite = appetite or Appetite.of(card.whole_bytes, card.paged_bytes, self._limit(card))
        try:
            while True:
                match seat(self.budget.ram_bytes, self._residents(), appetite):
                    case Seat(granted, leaving):
                        for name in leaving:
                            await self._send_away(self.models[name])
                        return granted
                    case NoRoom(needed, room):
                        numbers = f"{format_bytes(needed)} needed, {format_bytes(room)} for all models"
                        raise BudgetError(f"{card.name} does not fit", numbers, "raise --ram")
                    case waiting:
                        for name in waiting.names:
                            self.models[name].wanted_away = True
                        async with self._news:
                            await self._news.wait()
        finally:
            for seated in self.models.values():
                seated.wanted_away = False

    def _residents(self) -> list[Resident]:
        return [
            Resident(name, s.granted_bytes, s.users > 0, s.used_at_s)
            for name, s in self.models.items()
            if s.engine is not None
        ]

    async def _send_away(self, seated: Seated) -> None:
        """End its process; its grant is free when this returns."""
        engine, seated.engine = seated.engine, None
        if engine is not None:
            await engine.stop()
            seated.granted_bytes, seated.changed_at = 0, time.time()
            await self._tell()

    def _follow(self, seated: Seated, engine: EngineProcess) -> None:
        task = asyncio.create_task(self._revive(seated, engine))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _revive(self, seated: Seated, engine: EngineProcess) -> None:
        """When the process ends by itself, note why and start it anew, later each time it fails again."""
        loss = await asyncio.shield(engine.lost)
        if seated.engine is not engine:
            return
        seated.engine, seated.granted_bytes, seated.last_loss = None, 0, loss
        steady = time.monotonic() - engine.ready_at_s > STEADY_S
        seated.losses = 1 if steady else seated.losses + 1
        await engine.client.aclose()
        await self._tell()
        await asyncio.sleep(min(FIRST_PAUSE_S * 2.0 ** (seated.losses - 1), LONGEST_PAUSE_S))
        if seated.engine is None and not self._closed:
            with contextlib.suppress(SixgigError):
                await self._engine(seated)

    async def _tell(self) -> None:
        self._changed()
        async with self._news:
            self._news.notify_all()
