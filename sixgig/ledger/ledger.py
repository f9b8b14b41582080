"""The ledger as its one writer sees it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Self

from sixgig.ledger.database import LedgerError, identity, open_to_write, telling
from sixgig.ledger.entry import Entry, Residency, require_figure
from sixgig.ledger.spending import Exceeded, Limits, Reservation, exceeded


def _insert(table: str, row: type[Entry] | type[Residency] | type[Reservation]) -> str:
    names = [field.name for field in fields(row)]
    values = ", ".join(f":{name}" for name in names)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values}) ON CONFLICT (id) DO NOTHING"


_INSERTS = {Entry: _insert("entries", Entry), Residency: _insert("residencies", Residency)}
_RESERVE = _insert("reservations", Reservation)
_SETTLE = "UPDATE reservations SET settled_micros = ? WHERE id = ?"
_RESERVED = "SELECT at, upstream, key, model, micros FROM reservations WHERE id = ?"
# No upper end: what a clock that ran ahead has dated still counts after the clock is put right.
_SPENT = "SELECT COALESCE(SUM(COALESCE(settled_micros, micros)), 0) FROM reservations WHERE at >= ?"


class Ledger:
    """What was served, and what may still be spent. Every method may be called from any thread; each is one
    transaction, on disk when it returns. Each raises LedgerError where that cannot be: then nothing of it is
    in the ledger, or all of it (a disk may fail after the last byte), and the same call may be made again.

    Other processes may read meanwhile (`sixgig.ledger.Reader`); a second writer waits its turn.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Use open()."""
        self.path = path
        self._connection = connection
        self._lock = threading.Lock()
        self._identity = identity(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The ledger in this file, which is made where it is missing. Raises LedgerError: `open_to_write`."""
        connection = open_to_write(path)
        return cls(path.resolve(), connection)

    def record(self, batch: Iterable[Entry | Residency]) -> None:
        """Adds all, or raises LedgerError and adds none. An id that is there already is passed over."""
        rows = list(batch)
        with self._transaction() as connection:
            for row in rows:
                connection.execute(_INSERTS[type(row)], vars(row))

    def reserve(self, id: str, at: float, upstream: str, key: str, model: str, micros: int) -> None:
        """Sets millionths aside before they are spent: they count in full until settle() tells better.

        at: wall clock, seconds since 1970. The same call again changes nothing; LedgerError for an id that
        stands for another reservation.
        """
        with self._transaction() as connection:
            _reserve(connection, Reservation(id, at, upstream, key, model, micros))

    def reserve_within(
        self, id: str, at: float, upstream: str, key: str, model: str, micros: int, limits: Limits
    ) -> tuple[Exceeded, ...]:
        """reserve(), if day and month stay within their caps with it; else what it would pass, and nothing is
        reserved. No other writer comes between.
        """
        wanted = Reservation(id, at, upstream, key, model, micros)
        with self._transaction() as connection:
            if not _is_reserved(connection, wanted):
                over = exceeded(limits, at, micros, lambda since: _spent(connection, since))
                if over:
                    return over
                _reserve(connection, wanted)
        return ()

    def settle(self, id: str, micros: int) -> None:
        """What a reservation came to, more or less than reserved; told again, the last word counts.

        Raises LedgerError where nothing was reserved under this id.
        """
        require_figure("micros", micros)
        with self._transaction() as connection:
            if connection.execute(_SETTLE, (micros, id)).rowcount != 1:
                raise LedgerError("nothing was reserved under this id", id)

    def spent(self, since_epoch: float) -> int:
        """Millionths settled, and reserved but not settled, at or after a moment: the future included."""
        with self._lock, telling(self.path):
            return _spent(self._connection, since_epoch)

    def close(self) -> None:
        """Safe to call twice; the ledger is whole without it."""
        with self._lock, telling(self.path):
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, telling(self.path):
            self._require_same_file()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself has ended it after some errors
                    self._connection.execute("ROLLBACK")
                raise

    def _require_same_file(self) -> None:
        """SQLite would go on writing, unseen, to a file that was moved away or deleted."""
        if not self.path.exists() or identity(self.path) != self._identity:
            raise LedgerError(
                f"the ledger {self.path} was moved away or replaced while in use",
                cure="put it back, or start again",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


def _spent(connection: sqlite3.Connection, since: float) -> int:
    micros: int = connection.execute(_SPENT, (since,)).fetchone()[0]
    return micros


def _is_reserved(connection: sqlite3.Connection, wanted: Reservation) -> bool:
    found = connection.execute(_RESERVED, (wanted.id,)).fetchone()
    if found is not None and Reservation(wanted.id, *found) != wanted:
        raise LedgerError("this id stands for another reservation", wanted.id)
    return found is not None


def _reserve(connection: sqlite3.Connection, wanted: Reservation) -> None:
    if not _is_reserved(connection, wanted):
        connection.execute(_RESERVE, vars(wanted))
