"""Everything one server has, made once and handed to its endpoints."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from sixgig.energy import EnergyMonitor
from sixgig.engines import Budget, Fleet, ModelCard
from sixgig.errors import SixgigError
from sixgig.gateway import logs
from sixgig.gateway.admission import Admission
from sixgig.gateway.books import Books
from sixgig.gateway.dispatch import Dispatch
from sixgig.gateway.exchange import Exchange
from sixgig.gateway.grammars import GrammarGate
from sixgig.gateway.local import Local
from sixgig.gateway.metrics import Metrics
from sixgig.gateway.names import Names
from sixgig.gateway.record import Record
from sixgig.gateway.slots import SlotChooser
from sixgig.gateway.status import Status
from sixgig.gateway.tally import Tally
from sixgig.gateway.today import Today
from sixgig.gateway.upstream import Upstreams
from sixgig.grammars.checker import Checker
from sixgig.ledger import Ledger, Limits
from sixgig.router import Gate, Spending
from sixgig.settings import Settings

SAMPLE_S = 1.0
LAST_WORDS_S = 5.0  # for calls that were cut off to be put down


class Gateway:
    """The models, the queue, the books and the rules. Belongs to one event loop; running() starts its work.

    sockets: a private folder. gateway_bytes: what this process itself may take of the budget.
    """

    def __init__(
        self,
        settings: Settings,
        cards: Sequence[ModelCard],
        budget: Budget,
        sockets: Path,
        ledger: Ledger,
        monitor: EnergyMonitor,
        *,
        threads: int,
        gateway_bytes: int = 0,
        upstreams: Upstreams | None = None,
    ) -> None:
        self.settings = settings
        self.queue = Admission(settings.server.queue)
        self.fleet = Fleet(
            cards,
            budget,
            sockets,
            keep_alive_s=settings.server.keep_alive_s,
            threads=threads,
            changed=self._models_changed,
        )
        self.books = Books(ledger, monitor, settings.energy.price_per_kwh)
        limits = _limits(settings.spending)
        self.today = Today(ledger.path, limits.zone)
        elsewhere = (name for upstream in settings.upstreams for name in upstream.models)
        self.names = Names(self.fleet.models, settings.aliases, elsewhere)
        self.tally = Tally(card.name for card in cards)
        self.status = Status(
            self.fleet,
            self.queue,
            self.books,
            self.tally,
            self.today,
            limits,
            settings.energy,
            [upstream.name for upstream in settings.upstreams],
            gateway_bytes,
        )
        self.metrics = Metrics(lambda: self.status.latest)
        self._upstreams = upstreams or Upstreams()
        self._grammars = GrammarGate(Checker())
        local = Local(self.fleet, self.queue, self._grammars, SlotChooser(settings.keys))
        dispatch = Dispatch(local, self._upstreams, settings, _gate(settings), self.books, limits)
        self.exchange = Exchange(
            dispatch, self.books, self.tally, self._ended, settings.timeouts.first_byte_s
        )
        self._news = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works while the block runs; then ends every engine and closes the books."""
        await self.status.refresh()
        jobs = (self.fleet.run, self.books.run, self.books.watch_energy, self._follow_models, self._sample)
        tasks = [asyncio.create_task(job()) for job in jobs]
        try:
            yield
        finally:
            self.status.draining = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.fleet.close()
            await self._upstreams.close()
            await self._grammars.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await self.exchange.all_ended()
            await self.books.close()

    def _models_changed(self) -> None:
        self._news.set()

    async def _follow_models(self) -> None:
        """Tell the meter and the books which models are loaded, whenever that changes."""
        told: tuple[frozenset[str], bool] = frozenset(), False
        losses: dict[str, SixgigError | None] = {}
        while True:
            await self._news.wait()
            self._news.clear()
            losses = self._log_losses(losses)
            states = {name: seated.state for name, seated in self.fleet.models.items()}
            ready = frozenset(name for name, state in states.items() if state == "ready")
            news = ready, "loading" in states.values()
            if news == told:  # a request has ended, no more
                continue
            told = news
            await asyncio.to_thread(self.books.monitor.loaded, None if told[1] else ready)
            self.books.loaded(ready)

    def _log_losses(self, known: dict[str, SixgigError | None]) -> dict[str, SixgigError | None]:
        """A line for each engine that has ended unasked; returns the latest of each model."""
        latest: dict[str, SixgigError | None] = {
            name: seated.last_loss for name, seated in self.fleet.models.items()
        }
        for name, loss in latest.items():
            if loss is not None and loss is not known.get(name):
                logs.event("engine_lost", logging.WARNING, model=name, reason=str(loss))
        return latest

    async def _sample(self) -> None:
        """Once a second, the figures that the page and the metrics show."""
        while True:
            await self.today.refresh(time.time())
            await self.status.refresh()
            await asyncio.sleep(SAMPLE_S)

    def _ended(self, record: Record) -> None:
        """A call has ended."""
        logs.request(_line(record))
        latencies, model = self.metrics.latencies, record.call.model
        if model not in self.fleet.models:
            return
        latencies.total(model, record.seconds)
        latencies.queue(model, record.queue_s)
        if record.first_token_s is not None:
            latencies.first_token(model, record.first_token_s)


def _line(record: Record) -> logs.RequestLine:
    usage = record.usage
    return logs.RequestLine(
        id=record.call.id,
        key=record.call.key,
        model=record.call.model,
        path=record.call.path,
        served_by=record.served_by,
        status=record.status,
        outcome=record.outcome,
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        seconds=record.seconds,
        queue_s=record.queue_s,
        first_token_s=record.first_token_s,
    )


def _limits(spending: Spending) -> Limits:
    """The owner's caps in micro-units, by the days of this machine's own zone, its clock changes included."""
    return Limits(spending.per_day_micros, spending.per_month_micros, zone=None)


def _gate(settings: Settings) -> Gate:
    return Gate(
        settings.server.private_by_default,
        frozenset(name for name, model in settings.models.items() if model.private),
        {key.name: key.private for key in settings.keys},
    )
