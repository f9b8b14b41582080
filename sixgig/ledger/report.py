"""What a ledger adds up to, by day, model, key or server."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from typing import Any, Literal

from sixgig.ledger.days import day_start, local_day, next_day
from sixgig.ledger.sums import Sum, sum_columns

By = Literal["day", "model", "key", "server"]
Span = tuple[float, float]

_ENTRY_GROUPS = {"model": "model", "key": "key", "server": "served_by"}
# A model in memory serves no key in particular: by key it stands in the total only.
_RESIDENCY_GROUPS = {"model": "model", "key": "NULL", "server": "'local'"}
_NEXT = """
SELECT MIN(began_at) FROM (
SELECT MIN(began_at) AS began_at FROM entries WHERE began_at >= :since AND (served_by = 'local' OR NOT :here)
UNION ALL SELECT MIN(began_at) FROM residencies WHERE began_at >= :since)
"""
_WITHIN = "WHERE began_at >= ? AND began_at < ? GROUP BY 1"
_ESTIMATED = "energy_estimated"
_CUT_SHORT = "outcome <> 'ok'"  # its pieces were counted
_HERE, _AWAY = "served_by = 'local'", "served_by <> 'local'"
_ENTRIES = f"""
SELECT {{group}}, COUNT(*), SUM(outcome = 'ok'), SUM(outcome = 'failed'), SUM(outcome = 'cancelled'),
SUM(seconds), {sum_columns("prompt_tokens")}, {sum_columns("cached_tokens")},
{sum_columns("completion_tokens", estimated=_CUT_SHORT)}, {sum_columns("joules", _HERE, _ESTIMATED)},
{sum_columns("energy_cost_micros", _HERE, _ESTIMATED)}, {sum_columns("upstream_cost_micros", _AWAY)}
FROM entries {_WITHIN}
"""
_RESIDENCIES = f"""
SELECT {{group}}, SUM(seconds), {sum_columns("joules", estimated=_ESTIMATED)},
{sum_columns("energy_cost_micros", estimated=_ESTIMATED)} FROM residencies {_WITHIN}
"""
_NONE: Sum[Any] = Sum(None, 0, 0)


@dataclass(frozen=True)
class Served:
    """Requests. busy_s: their durations added up, so more than the clock where some ran together.

    joules (above idle) and energy_micros are of those served here, upstream_micros of the others.
    """

    requests: int = 0
    ok: int = 0
    failed: int = 0
    cancelled: int = 0
    busy_s: float = 0.0
    prompt_tokens: Sum[int] = _NONE
    cached_tokens: Sum[int] = _NONE
    completion_tokens: Sum[int] = _NONE
    joules: Sum[float] = _NONE
    energy_micros: Sum[int] = _NONE
    upstream_micros: Sum[int] = _NONE


@dataclass(frozen=True)
class Loaded:
    """Models that stayed in memory, and what that took beyond an empty machine."""

    seconds: float = 0.0
    joules: Sum[float] = _NONE
    energy_micros: Sum[int] = _NONE


@dataclass(frozen=True)
class Totals:
    """One line of a report: a day (ISO 8601), a model, a key, a server, or everything."""

    name: str
    served: Served
    loaded: Loaded


@dataclass(frozen=True)
class Report:
    """rows: in the order of their names; total: of everything in the span, loaded models included."""

    by: By
    rows: tuple[Totals, ...]
    total: Totals

    @property
    def empty(self) -> bool:
        """Whether nothing at all is in the span."""
        return not (self.total.served.requests or self.total.loaded.joules.of)


def report(connection: sqlite3.Connection, by: By, span: Span, zone: tzinfo | None) -> Report:
    """From one state of the ledger, if the connection is in a transaction."""
    if by == "day":
        spans = days(connection, span, zone, here=False)
        rows = [_everything(connection, day.isoformat(), within) for day, within in spans]
    else:
        served, loaded = _groups(connection, _ENTRY_GROUPS[by], _RESIDENCY_GROUPS[by], span)
        names = sorted(served | loaded)
        rows = [Totals(name, served.get(name, Served()), loaded.get(name, Loaded())) for name in names]
    return Report(by, tuple(rows), _everything(connection, "", span))


def days(
    connection: sqlite3.Connection, span: Span, zone: tzinfo | None, here: bool
) -> Iterator[tuple[date, Span]]:
    """Days on which something was served (here: on this machine) or loaded, each with its part of the span.

    Found by leaps along the index, so that a clock that once stood in 1970 costs nothing.
    """
    since, until = span
    while True:
        first = connection.execute(_NEXT, {"since": since, "here": here}).fetchone()[0]
        if first is None or first >= until:
            return
        day = local_day(first, zone)
        end = day_start(next_day(day), zone)
        yield day, (since, min(end, until))
        since = end


def _everything(connection: sqlite3.Connection, name: str, span: Span) -> Totals:
    served, loaded = _groups(connection, "''", "''", span)
    return Totals(name, served.get("", Served()), loaded.get("", Loaded()))


def _groups(
    connection: sqlite3.Connection, of_entries: str, of_residencies: str, span: Span
) -> tuple[dict[str, Served], dict[str, Loaded]]:
    served = connection.execute(_ENTRIES.format(group=of_entries), span)
    loaded = connection.execute(_RESIDENCIES.format(group=of_residencies), span)
    return (
        {name: Served(*figures[:5], *_sums(figures[5:])) for name, *figures in served},
        {name: Loaded(figures[0], *_sums(figures[1:])) for name, *figures in loaded if name is not None},
    )


def _sums(columns: Sequence[Any]) -> list[Sum[Any]]:
    return [Sum(*columns[start : start + 4]) for start in range(0, len(columns), 4)]
