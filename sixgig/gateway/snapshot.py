"""The state of the server as one document: what the status page shows and the metrics are made of."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sixgig import __version__
from sixgig.engines import Seated
from sixgig.hardware import process_memory
from sixgig.hardware.machine import Absent

if TYPE_CHECKING:
    from sixgig.gateway.gateway import Gateway


async def snapshot(gateway: Gateway) -> dict[str, Any]:
    """Sizes in bytes, money in micro-units, times in seconds; None where something is absent."""
    now_s, now = time.monotonic(), time.time()
    energy = _energy(gateway)
    counters = {name: await _counters(seated) for name, seated in gateway.fleet.models.items()}
    models = [_model(gateway, seated, counters[name], now_s) for name, seated in gateway.fleet.models.items()]
    gateway.tally.sample(now_s, _hit_rate(counters.values()), energy["watts"])
    return {
        "version": __version__,
        "now": now,
        "uptime_s": now_s - gateway.began_s,
        "draining": gateway.draining,
        "budget": {
            "ram_bytes": gateway.fleet.budget.ram_bytes + gateway.gateway_bytes,
            "vram_bytes": gateway.fleet.budget.vram_bytes,
            "gateway_bytes": process_memory().resident_bytes,
        },
        "models": models,
        "queue": {
            "waiting": gateway.queue.waiting,
            "bound": gateway.queue.bound,
            "running": gateway.queue.running,
            "rejected": gateway.queue.rejected,
        },
        "tokens_per_s": gateway.tally.written_rates.rate(now_s),
        "prompt_tokens_per_s": gateway.tally.read_rates.rate(now_s),
        "energy": energy,
        "ledger": {"today": gateway.today.served, "failing": gateway.books.failing},
        "upstreams": _upstreams(gateway),
        "history": gateway.tally.written_rates.history(now_s, now),
    }


async def _counters(seated: Seated) -> dict[str, Any]:
    engine = seated.engine
    return (await engine.counters() or {}) if engine is not None and engine.alive else {}


def _hit_rate(counters: Iterable[dict[str, Any]]) -> float | None:
    """Of all experts that were asked for, the share found in memory; None while none was."""
    paged = [counter for counter in counters if counter]
    hits, misses = (sum(counter[name] for counter in paged) for name in ("hits", "misses"))
    return hits / (hits + misses) if hits + misses else None


def _model(gateway: Gateway, seated: Seated, counters: dict[str, Any], now_s: float) -> dict[str, Any]:
    card, engine, tally = seated.card, seated.engine, gateway.tally.of(seated.card.name)
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
    } | _staying(gateway, card.name)


def _tier(tier: dict[str, Any]) -> dict[str, Any]:
    return {name: tier[name] for name in ("name", "size_bytes", "kind")}


def _staying(gateway: Gateway, name: str) -> dict[str, Any]:
    state = gateway.books.monitor.state()
    return {"staying_watts": _known(state.staying_watts.get(name, Absent("not measured yet")))}


def _energy(gateway: Gateway) -> dict[str, Any]:
    state, settings = gateway.books.monitor.state(), gateway.settings.energy
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


def _upstreams(gateway: Gateway) -> list[dict[str, Any]]:
    """One row each; the caps hold for all together, so several get a row for that before them."""
    names = [upstream.name for upstream in gateway.settings.upstreams]
    rows = [_upstream(gateway, name, [name]) for name in names]
    if len(rows) > 1:
        rows.insert(0, _upstream(gateway, "all together", names))
    for row in rows[:1]:
        row["per_day_micros"] = gateway.limits.per_day_micros
        row["per_month_micros"] = gateway.limits.per_month_micros
    return rows


def _upstream(gateway: Gateway, title: str, names: list[str]) -> dict[str, Any]:
    today = gateway.today
    return {
        "name": title,
        "requests": sum(gateway.tally.upstream_requests[name] for name in names),
        "spent_today_micros": sum(today.spent_day.get(name, 0) for name in names),
        "spent_month_micros": sum(today.spent_month.get(name, 0) for name in names),
        "per_day_micros": None,
        "per_month_micros": None,
    }


def _known(figure: float | Absent) -> float | None:
    return None if isinstance(figure, Absent) else figure
