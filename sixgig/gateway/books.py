"""What was served goes into the ledger, with its joules; while the disk is full it waits in memory."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from decimal import Decimal
from logging import ERROR

from sixgig.energy import Energy, EnergyMonitor, micro_units
from sixgig.gateway import logs
from sixgig.hardware.machine import Absent
from sixgig.ledger import Entry, Exceeded, Ledger, LedgerError, Limits, Residency
from sixgig.ledger.days import day_start, local_day
from sixgig.ledger.entry import MOST_CHARACTERS
from sixgig.router import Attempt, Spent

TICK_S, SLICE_S, RETRY_S = 0.5, 3600.0, 5.0
GATHER_S = 0.1  # what ends within that time is one transaction
MOST_RECENT = 1000
MOST_PENDING = 100_000  # entries of a few hundred bytes each, while the disk takes nothing


class Books:
    """The ledger and the meter as the gateway uses them. Belongs to one event loop.

    failing: why the ledger takes nothing at the moment; lost: entries given up because too many waited.
    recent: the last requests' entries by id, on disk already or not.
    """

    def __init__(self, ledger: Ledger, monitor: EnergyMonitor, price_per_kwh: Decimal | None) -> None:
        self.monitor, self.price_per_kwh = monitor, price_per_kwh
        self.failing: str | None = None
        self.lost = 0
        self._ledger = ledger
        self.recent: dict[str, Entry] = {}
        self._pending: deque[Entry | Residency] = deque()
        self._writing: list[Entry | Residency] = []
        self._news = asyncio.Event()
        self._accrued: dict[str, float] = {}
        self._slice_began = time.time(), time.monotonic()
        self._loaded_s: dict[str, float] = {}

    @property
    def pending(self) -> int:
        """Entries that are not on disk yet."""
        return len(self._pending) + len(self._writing)

    async def begin(self, request_id: str) -> None:
        """The request runs from now on. Where a meter is read that takes a thread, and time."""
        await asyncio.to_thread(self.monitor.begin, request_id)

    async def end(self, request_id: str) -> Energy:
        """It has ended; what it took."""
        return await asyncio.to_thread(self.monitor.end, request_id)

    def energy_cost_micros(self, joules: float | None) -> int | None:
        """At the owner's tariff; None without one or without joules."""
        if joules is None or self.price_per_kwh is None:
            return None
        return micro_units(joules, self.price_per_kwh)

    def record(self, entry: Entry | Residency) -> None:
        """It will be on disk soon, or as soon as the disk takes it."""
        if isinstance(entry, Entry):
            self.recent[entry.id] = entry
            if len(self.recent) > MOST_RECENT:
                del self.recent[next(iter(self.recent))]
        if self.pending >= MOST_PENDING:
            self.lost += 1
            return
        self._pending.append(entry)
        self._news.set()

    async def reserve(self, attempt: Attempt, key: str, model: str, limits: Limits) -> tuple[Exceeded, ...]:
        """Set the worst case aside before it can be spent. Raises LedgerError: then it must not be sent.

        What is free needs no room in a cap.
        """
        if not attempt.worst_case_micros:
            return ()
        reserving = asyncio.create_task(
            asyncio.to_thread(
                self._ledger.reserve_within,
                _reservation(attempt),
                time.time(),
                attempt.upstream.name,
                key,
                storable(model),
                attempt.worst_case_micros,
                limits,
            )
        )
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:  # nothing was sent yet
            await asyncio.wait({reserving})
            await self.settle(attempt, 0)
            raise

    async def settle(self, attempt: Attempt, micros: int) -> None:
        """What it came to. Where the disk takes nothing the worst case goes on counting."""
        if not attempt.worst_case_micros:
            return
        with contextlib.suppress(LedgerError):
            await asyncio.to_thread(self._ledger.settle, _reservation(attempt), micros)

    async def spent_now(self, limits: Limits) -> Spent:
        """This day and this month, what is set aside included. Raises LedgerError."""
        today = local_day(time.time(), limits.zone)
        starts = day_start(today, limits.zone), day_start(today.replace(day=1), limits.zone)
        day, month = await asyncio.to_thread(lambda: [self._ledger.spent(start) for start in starts])
        return Spent(day, month)

    async def run(self) -> None:
        """Write what waits, as it comes; until cancelled."""
        while True:
            await self._news.wait()
            await asyncio.sleep(GATHER_S)
            self._news.clear()
            if not await self._write():
                await asyncio.sleep(RETRY_S)
                self._news.set()

    async def watch_energy(self) -> None:
        """Read the meter regularly, and put down what staying loaded took; until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            await asyncio.to_thread(self.monitor.tick)
            if time.monotonic() - self._slice_began[1] >= SLICE_S:
                self.loaded(frozenset(self._loaded_s))

    def loaded(self, models: frozenset[str]) -> None:
        """Put down how long each model has stayed loaded; from now on these are."""
        now_s, (began_at, _) = time.monotonic(), self._slice_began
        for model, since_s in self._loaded_s.items():
            self.record(self._residency(model, began_at, now_s - since_s))
        self._slice_began = time.time(), now_s
        self._loaded_s = dict.fromkeys(models, now_s)

    async def close(self) -> None:
        """Write what waits, if the disk takes it, say what is lost, and close both."""
        self.loaded(frozenset())
        if not await self._write() or self.lost:
            logs.event("ledger_lost", ERROR, entries=self.pending + self.lost, reason=self.failing)
        await asyncio.to_thread(self.monitor.close)
        with contextlib.suppress(LedgerError):
            self._ledger.close()

    async def _write(self) -> bool:
        """All that waits, in one transaction. Cut short it may be done again: an id counts once."""
        self._writing += self._pending
        self._pending.clear()
        try:
            await asyncio.to_thread(self._ledger.record, list(self._writing))
        except LedgerError as error:
            if not self.failing:
                logs.event("ledger_failing", ERROR, reason=str(error))
            self.failing = str(error)
            return False
        if self.failing:
            logs.event("ledger_written_again", entries=len(self._writing))
        self._writing.clear()
        self.failing = None
        return True

    def _residency(self, model: str, began_at: float, seconds: float) -> Residency:
        state = self.monitor.state()
        accrued = state.staying_joules.get(model, Absent("never measured"))
        joules = None
        if not isinstance(accrued, Absent):
            joules = max(0.0, accrued - self._accrued.get(model, 0.0))
            self._accrued[model] = accrued
        return Residency(
            id=secrets.token_hex(12),
            began_at=began_at,
            model=model,
            seconds=seconds,
            joules=joules,
            energy_source=state.source,
            energy_estimated=state.estimated,
            energy_cost_micros=self.energy_cost_micros(joules),
        )


def _reservation(attempt: Attempt) -> str:
    """A request may try several upstreams, and one of them twice."""
    return f"{attempt.request_id}/{attempt.upstream.name}{'/again' if attempt.again else ''}"


def storable(name: str) -> str:
    """As far as it can be written down: a client's may be of any length, and hold halves of characters."""
    return name[:MOST_CHARACTERS].encode("utf-8", "replace").decode()
