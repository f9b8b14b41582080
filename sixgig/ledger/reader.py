"""The ledger as reports see it, also while a server writes to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import tzinfo
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Self

from sixgig.ledger.break_even import LocalUse
from sixgig.ledger.database import open_to_read, telling
from sixgig.ledger.entry import LOCAL
from sixgig.ledger.report import By, Report, Served, days, report
from sixgig.ledger.schema import TABLES

_METERED = """
SELECT COALESCE(SUM(COALESCE(prompt_tokens, 0) + COALESCE(completion_tokens, 0)), 0) FROM entries
WHERE began_at >= ? AND began_at < ? AND served_by = 'local' AND energy_cost_micros IS NOT NULL
"""

_SPENT = "SELECT upstream, SUM(COALESCE(settled_micros, micros)) FROM reservations WHERE at >= ? GROUP BY 1"
_UNSETTLED = """
SELECT COUNT(*), COALESCE(SUM(micros), 0) FROM reservations
WHERE settled_micros IS NULL AND at >= ? AND at < ?
"""


class Reader:
    """Reports of a ledger in days of `zone` (None: the system's). For one thread; each is of one moment.

    since, until: seconds since 1970, until not included. Raises LedgerError.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, zone: tzinfo | None) -> None:
        """Use open()."""
        self.path = path
        self._connection = connection
        self._zone = zone

    @classmethod
    def open(cls, path: Path, zone: tzinfo | None) -> Self:
        """Raises LedgerError where there is no ledger, or none that can be read."""
        return cls(path, open_to_read(path), zone)

    @classmethod
    def of_nothing(cls, zone: tzinfo | None) -> Self:
        """Stands for a ledger that was not begun yet."""
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.executescript(TABLES)
        return cls(Path(":memory:"), connection, zone)

    def report(self, by: By, since: float = 0.0, until: float = inf) -> Report:
        """Sums by one of the groupings."""
        with self._snapshot() as connection:
            return report(connection, by, (since, until), self._zone)

    def local_use(self, since: float = 0.0, until: float = inf) -> LocalUse:
        """What break_even() needs to know."""
        span = (since, until)
        with self._snapshot() as connection:
            found = report(connection, "server", span, self._zone)
            return LocalUse(
                served=next((row.served for row in found.rows if row.name == LOCAL), Served()),
                loaded=found.total.loaded,
                metered_tokens=connection.execute(_METERED, span).fetchone()[0],
                days=sum(1 for _ in days(connection, span, self._zone, here=True)),
            )

    def spent(self, since: float) -> dict[str, int]:
        """Millionths by upstream, as the caps count them: with what is set aside for answers not ended."""
        with self._snapshot() as connection:
            return dict(connection.execute(_SPENT, (since,)).fetchall())

    def unsettled(self, since: float = 0.0, until: float = inf) -> tuple[int, int]:
        """Requests that went upstream and were not settled, and the millionths that count for them."""
        with self._snapshot() as connection:
            count, micros = connection.execute(_UNSETTLED, (since, until)).fetchone()
            return count, micros

    def close(self) -> None:
        """Safe to call twice."""
        self._connection.close()

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        with telling(self.path):
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()
