"""Prometheus' text of a snapshot (the document of ``/status.json``), and of the latencies of requests.

What is absent is left out, never 0. A counter of a model starts again with its engine, as Prometheus expects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

Snapshot = Mapping[str, Any]
Row = tuple[tuple[str, ...], float | None]

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
STATES = ("unloaded", "loading", "ready")
MICROS = 10**6

# A model in memory answers within tenths of a second; one to be loaded and paged from disk takes minutes.
FIRST_TOKEN_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
# Whole answers: from one token to thousands at a token a second.
TOTAL_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
# Most never wait, hence the first; the others wait as long as an answer takes.
QUEUE_S = (0.005, 0.05, 0.25, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Latencies:
    """Histograms the gateway observes into, in seconds. model: a configured name, never a request's word."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, meaning, ["model"], registry=registry, buckets=buckets)

        self._first_token = histogram(
            "sixgig_first_token_seconds", "From a request's arrival to its first token.", FIRST_TOKEN_S
        )
        self._total = histogram(
            "sixgig_request_seconds", "From a request's arrival to the end of its answer.", TOTAL_S
        )
        self._queue = histogram(
            "sixgig_queue_seconds", "From a request's arrival until it was admitted.", QUEUE_S
        )

    def first_token(self, model: str, seconds: float) -> None:
        """The first byte of an answer has been sent."""
        self._first_token.labels(model).observe(seconds)

    def total(self, model: str, seconds: float) -> None:
        """An answer has ended, well or not."""
        self._total.labels(model).observe(seconds)

    def queue(self, model: str, seconds: float) -> None:
        """A request has left the queue."""
        self._queue.labels(model).observe(seconds)


class Metrics:
    """What ``/metrics`` serves: a registry of its own, a snapshot taken at each scrape."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._registry = CollectorRegistry()
        self.latencies = Latencies(self._registry)
        self._registry.register(SnapshotCollector(snapshot))

    def text(self) -> bytes:
        """In the format CONTENT_TYPE says."""
        return generate_latest(self._registry)


class SnapshotCollector(Collector):
    """Metric families from one snapshot a scrape, so that their figures agree."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Every family that has a sample."""
        snapshot = self._snapshot()
        yield InfoMetricFamily("sixgig_build", "The running version.", {"version": str(snapshot["version"])})
        for families in (_server, _models, _memory, _energy, _books):
            yield from (family for family in families(snapshot) if family.samples)


def _server(snapshot: Snapshot) -> Iterator[Metric]:
    queue, budget = snapshot["queue"], snapshot["budget"]
    yield _gauge("sixgig_uptime_seconds", "Since the server started.", snapshot["uptime_s"])
    yield _gauge("sixgig_draining", "1 while the server takes no more requests.", snapshot["draining"])
    yield _gauge("sixgig_queue_waiting", "Requests that wait to be admitted.", queue["waiting"])
    yield _gauge("sixgig_queue_bound", "Requests that may wait; more are rejected.", queue["bound"])
    yield _gauge("sixgig_queue_running", "Requests that are being answered.", queue["running"])
    yield _counter("sixgig_requests_rejected", "Requests turned away at a full queue.", queue["rejected"])
    kinds = [((kind,), budget[f"{kind}_bytes"]) for kind in ("ram", "vram", "gateway")]
    yield _gauges("sixgig_budget_bytes", "The memory budget; of its RAM, the gateway's share.", "kind", kinds)


def _models(snapshot: Snapshot) -> Iterator[Metric]:
    def each(field: str) -> list[Row]:
        return [((model["name"],), model[field]) for model in snapshot["models"]]

    tokens = [
        ((model["name"], kind), model[f"{kind}_tokens"])
        for model in snapshot["models"]
        for kind in ("prompt", "completion")
    ]
    states = [
        ((model["name"], state), model["state"] == state) for model in snapshot["models"] for state in STATES
    ]
    outcomes = [
        ((model["name"], outcome), count)
        for model in snapshot["models"]
        for outcome, count in model.get("requests", {}).items()
    ]
    yield _gauges("sixgig_model_state", "1 for the state a model is in.", "model state", states)
    yield _gauges("sixgig_model_users", "Requests a model serves.", "model", each("users"))
    yield _counters("sixgig_requests", "Requests by how they ended.", "model outcome", outcomes)
    yield _counters("sixgig_tokens", "Tokens read and written.", "model kind", tokens)
    yield _gauges(
        "sixgig_tokens_per_second", "Tokens written, over 5 seconds.", "model", each("tokens_per_s")
    )
    yield _gauges(
        "sixgig_expert_hit_ratio", "Of the experts asked for, the share in memory.", "model", each("hit_rate")
    )
    yield _counters("sixgig_expert_bytes_read", "Expert bytes read from disk.", "model", each("bytes_read"))
    yield _counters("sixgig_engine_losses", "Engine processes that ended unasked.", "model", each("losses"))


def _memory(snapshot: Snapshot) -> Iterator[Metric]:
    tiers: Counter[tuple[str, ...]] = Counter()
    for model in snapshot["models"]:
        for tier in model["tiers"]:
            tiers[model["name"], tier["name"]] += tier["size_bytes"]
    for field, meaning in (
        ("granted", "What a model's process may hold."),
        ("resident", "What a model's process holds, measured."),
    ):
        rows = [((model["name"],), model[f"{field}_bytes"]) for model in snapshot["models"] if model["pid"]]
        yield _gauges(f"sixgig_memory_{field}_bytes", meaning, "model", rows)
    yield _gauges("sixgig_memory_bytes", "A model's memory as planned, by use.", "model tier", tiers.items())


def _energy(snapshot: Snapshot) -> Iterator[Metric]:
    energy = snapshot["energy"]
    yield _counter("sixgig_joules", "Energy since the server started, measured.", energy["joules_total"])
    yield _gauge("sixgig_watts", "Power at the last measurement.", energy["watts"])
    kinds = [((kind,), energy[f"{kind}_watts"]) for kind in ("idle", "empty")]
    yield _gauges("sixgig_idle_watts", "Power without requests; empty: no model loaded.", "kind", kinds)


def _books(snapshot: Snapshot) -> Iterator[Metric]:
    upstreams, currency = snapshot["upstreams"], snapshot["energy"]["currency"]

    def money(fields: Mapping[str, str]) -> list[Row]:
        return [
            ((upstream["name"], window, currency), _whole(upstream[field]))
            for upstream in upstreams
            for window, field in fields.items()
        ]

    spent = money({"day": "spent_today_micros", "month": "spent_month_micros"})
    caps = money({"day": "per_day_micros", "month": "per_month_micros"})
    labels = "upstream window currency"
    failing = snapshot["ledger"]["failing"] is not None
    yield _gauge("sixgig_ledger_failing", "1 while the ledger cannot be written.", failing)
    yield _counters(
        "sixgig_upstream_requests",
        "Requests an upstream answered.",
        "upstream",
        [((upstream["name"],), upstream["requests"]) for upstream in upstreams],
    )
    yield _gauges("sixgig_upstream_spent", "Spent this day or month, in `currency`.", labels, spent)
    yield _gauges("sixgig_upstream_cap", "May be spent in a day or month, in `currency`.", labels, caps)


def _whole(micros: int | None) -> float | None:
    return None if micros is None else micros / MICROS


def _gauge(name: str, meaning: str, value: float | None) -> Metric:
    return _gauges(name, meaning, "", [((), value)])


def _counter(name: str, meaning: str, value: float | None) -> Metric:
    return _counters(name, meaning, "", [((), value)])


def _gauges(name: str, meaning: str, labels: str, rows: Iterable[Row]) -> Metric:
    return _filled(GaugeMetricFamily(name, meaning, labels=labels.split()), rows)


def _counters(name: str, meaning: str, labels: str, rows: Iterable[Row]) -> Metric:
    return _filled(CounterMetricFamily(name, meaning, labels=labels.split()), rows)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, rows: Iterable[Row]) -> Metric:
    for labels, value in rows:
        if value is not None:
            family.add_metric(labels, float(value))
    return family
