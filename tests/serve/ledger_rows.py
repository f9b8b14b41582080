"""Rows for a ledger, and what a ledger's file holds."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sixgig.ledger import Entry, Residency

NOON = 1_790_000_000.0  # a moment in 2026


def entry(id: str = "a", **values: Any) -> Entry:
    """A request like any other, but for `values`."""
    usual: dict[str, Any] = dict(
        began_at=NOON, model="m", key="anna", path="/v1/chat/completions", served_by="local", status=200,
        outcome="ok", private=False, prompt_tokens=100, cached_tokens=40, completion_tokens=20, seconds=2.5,
        queue_s=0.1, first_token_s=0.4, joules=30.0, energy_source="RAPL", energy_estimated=False,
        energy_cost_micros=3, upstream_cost_micros=None,
    )  # fmt: skip
    return Entry(id=id, **(usual | values))


def residency(id: str = "r", **values: Any) -> Residency:
    """An hour in memory, but for `values`."""
    usual: dict[str, Any] = dict(
        began_at=NOON, model="m", seconds=3600.0, joules=7200.0, energy_source="RAPL",
        energy_estimated=False, energy_cost_micros=600,
    )  # fmt: skip
    return Residency(id=id, **(usual | values))


def rows(path: Path, table: str = "entries", columns: str = "*") -> list[Any]:
    """All of a table, as tuples."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {columns} FROM {table} ORDER BY id").fetchall()
