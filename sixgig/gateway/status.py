"""The state of the server as one document: what the status page shows and the metrics are made of."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from sixgig import __version__
from sixgig.energy import EnergyState
from sixgig.engines import Fleet, Seated
from sixgig.gateway.admission import Admission
from sixgig.gateway.books import Books
from sixgig.gateway.tally import ModelTally, Tally
from sixgig.gateway.today import Today
from sixgig.hardware import process_memory
from sixgig.hardware.machine import Absent
from sixgig.ledger import Limits
from sixgig.settings import EnergySettings


class Status:
    """`latest` is the document as of the last refresh(); draining: whether requests are no longer taken.

    upstreams: their names. gateway_bytes: what this process itself may take of the budget.
    """

    def __init__(
        self,
        fleet: Fleet,
        queue: Admission,
        books: Books,
        tally: Tally,
        today: Today,
        limits: Limits,
        energy: EnergySettings,
        upstreams: Sequence[str],
        gateway_bytes: int,
    ) -> None:
        self._fleet, self._queue, self._books = fleet, queue, books
        self._tally, self._today, self._limits = tally, today, limits
        self._settings, self._upstreams, self._gateway_bytes = energy, upstreams, gateway_bytes
        self._began_s = time.monotonic()
        self.draining = False
        self.latest: dict[str, Any] = {}

    async def refresh(self) -> None:
        """Sizes in bytes, money in micro-units, times in seconds; None where something is absent."""
        now_s, now = time.monotonic(), time.time()
        models, queue, budget = self._fleet.models, self._queue, self._fleet.budget
        state = self._books.monitor.state()
        counters = {name: await _counters(seated) for name, seated in models.items()}
        energy = _energy(state, self._settings)
        self._tally.sample(now_s, _hit_rate(counters.values()), energy["watts"])
        self.latest = {
            "version": __version__,
            "now": now,
            "uptime_s": now_s - self._began_s,
            "draining": self.draining,
            "budget": {
                "ram_bytes": budget.ram_bytes + self._gateway_bytes,
                "vram_bytes": budget.vram_bytes,
                "gateway_bytes": process_memory().resident_bytes,
            },
            "models": [
                _model(seated, self._tally.of(name), counters[name], now_s) | _staying(state, name)
                for name, seated in models.items()
            ],
            "queue": {
                "waiting": queue.waiting,
                "bound": queue.bound,
                "running": queue.running,
                "rejected": queue.rejected,
            },
            "tokens_per_s": self._tally.written_rates.rate(now_s),
            "prompt_tokens_per_s": self._tally.read_rates.rate(now_s),
            "energy": energy,
            "ledger": {"today": self._today.served, "failing": self._books.failing},
            "upstreams": self._upstream_rows(),
            "history": self._tally.written_rates.history(now_s, now),
        }

    def _upstream_rows(self) -> list[dict[str, Any]]:
        """One row each; the caps hold for all together, so several get a row for that before them."""
        rows = [self._upstream_row(name, [name]) for name in self._upstreams]
        if len(rows) > 1:
            rows.insert(0, self._upstream_row("all together", self._upstreams))
        for row in rows[:1]:
            row["per_day_micros"] = self._limits.per_day_micros
            row["per_month_micros"] = self._limits.per_month_micros
        return rows

    def _upstream_row(self, title: str, names: Sequence[str]) -> dict[str, Any]:
        return {
            "name": title,
            "requests": sum(self._tally.upstream_requests[name] for name in names),
            "spent_today_micros": sum(self._today.spent_day.get(name, 0) for name in names),
            "spent_month_micros": sum(self._today.spent_month.get(name, 0) for name in names),
            "per_day_micros": None,
            "per_month_micros": None,
        }


async def _counters(seated: Seated) -> dict[str, Any]:
    engine = seated.engine
    return (await engine.counters() or {}) if engine is not None and engine.alive else {}


def _hit_rate(counters: Iterable[dict[str, Any]]) -> float | None:
    """Of all experts that were asked for, the share found in memory; None while none was."""
    paged = [counter for counter in counters if counter]
    hits, misses = (sum(counter[name] for counter in paged) for name in ("hits", "misses"))
    return hits / (hits + misses) if hits + misses else None


def _model(seated: Seated, tally: ModelTally, counters: dict[str, Any], now_s: float) -> dict[str, Any]:
    card, engine = seated.card, seated.engine
    memory = None if engine is None else engine.memory
    plan = {} if engine is None else engine.plan
    asked = counters and counters["hits"] + counters["misses"]
    return {
        "name": card.name,
        "state": seated.state,
        "loaded_fraction": seated.loaded_fraction,
        "size_bytes": card.size_bytes,
        "context": card.context,
        "parallel": card.spec.sequences,
        "users": seated.users,
        "expires_in_s": None if seated.deadline_s is None else max(0.0, seated.deadline_s - now_s),
        "pid": None if engine is None else engine.pid,
        "granted_bytes": seated.granted_bytes,
        "resident_bytes": None if memory is None else memory.resident_bytes,
        "mode": plan.get("mode"),
        "tiers": [_tier(tier) for tier in plan.get("tiers", ()) if tier["phase"] != "loading"],
        "hit_rate": counters["hit_rate"] if asked else None,
        "bytes_read": counters.get("bytes_read"),
        "losses": seated.losses,
        "last_loss": None if seated.last_loss is None else str(seated.last_loss),
        "tokens_per_s": tally.rates.rate(now_s),
        "prompt_tokens": tally.prompt_tokens,
        "completion_tokens": tally.completion_tokens,
        "requests": dict(tally.requests),
    }


def _tier(tier: dict[str, Any]) -> dict[str, Any]:
    return {name: tier[name] for name in ("name", "size_bytes", "kind")}


def _staying(state: EnergyState, name: str) -> dict[str, Any]:
    return {"staying_watts": _known(state.staying_watts.get(name, Absent("not measured yet")))}


def _energy(state: EnergyState, settings: EnergySettings) -> dict[str, Any]:
    absent = [
        f"{name}: {joules.reason}" for name, joules in state.joules.items() if isinstance(joules, Absent)
    ]
    known = [joules for joules in state.joules.values() if not isinstance(joules, Absent)]
    return {
        "source": state.source,
        "estimated": state.estimated,
        "absent_reason": state.watts.reason if isinstance(state.watts, Absent) else "; ".join(absent) or None,
        "watts": _known(state.watts),
        "idle_watts": _known(state.idle_watts),
        "empty_watts": _known(state.empty_watts),
        "joules_total": sum(known) if known else None,
        "price_per_kwh": None if settings.price_per_kwh is None else float(settings.price_per_kwh),
        "currency": settings.currency,
    }


def _known(figure: float | Absent) -> float | None:
    return None if isinstance(figure, Absent) else figure
