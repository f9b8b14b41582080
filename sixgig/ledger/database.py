"""The ledger's file: made whole, recognised before SQLite touches it, opened to write or to read."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from sixgig.atomic import sync
from sixgig.errors import SixgigError
from sixgig.ledger.schema import APPLICATION_ID, TABLES, VERSION

BUSY_S = 10.0
FileIdentity = tuple[int, int]  # device, inode
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_APPLICATION_ID = slice(68, 72)
_CURES = {
    "SQLITE_FULL": "free some disk space and try again",
    "SQLITE_IOERR": "check the disk and the space left on it, and try again",
    "SQLITE_BUSY": "another program holds it: close that, and try again",
    "SQLITE_READONLY": "give this user the right to write the file and its folder",
    "SQLITE_CANTOPEN": "give this user the right to write the file and its folder",
    "SQLITE_CORRUPT": "put a copy in its place, or move it away and begin a new one",
    "SQLITE_NOTADB": "put a copy in its place, or move it away and begin a new one",
}


class LedgerError(SixgigError):
    """The ledger cannot be opened, read or written. What it acknowledged before stays in it."""


def default_path() -> Path:
    """The ledger in the user's data folder."""
    return user_data_path("sixgig") / "ledger.sqlite"


def open_to_write(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode, of any thread, whose commits are on disk when they return.

    Makes a missing file. Raises LedgerError, and changes nothing, for a file that is foreign, damaged or of a
    later version.
    """
    with telling(path):
        if not path.exists():
            _make(path)
        return _checked(_connected(path, "rw", check_same_thread=False), path, _prepare)


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing and neither waits for a writer nor holds one up.

    Raises LedgerError as open_to_write does, and for a missing file.
    """
    with telling(path):
        return _checked(_connected(path, "ro"), path, _require_version)


class _Counted(sqlite3.Connection):
    """Counts in `_open` until it is closed."""

    file: FileIdentity | None = None

    def close(self) -> None:
        """Safe to call twice."""
        super().close()
        with _looking:
            _open[self.file], self.file = _open[self.file] - 1, None


_looking = threading.Lock()
_open: Counter[FileIdentity | None] = Counter()


def identity(path: Path) -> FileIdentity:
    """Which file it is, whatever its name."""
    found = path.stat()
    return found.st_dev, found.st_ino


def _connected(path: Path, mode: str, **options: Any) -> sqlite3.Connection:
    """Only SQLite may close a file that this process has open: whatever else closes it drops all locks of the
    process on it, and another process may then delete SQLite's log under the writer. So it is looked into
    only where no connection of this process is open.
    """
    with _looking:
        if not path.exists() or not _open[identity(path)]:
            _require_ledger(path)
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,
            factory=_Counted,
            **options,
        )
        connection.file = identity(path)
        _open[connection.file] += 1
        return connection


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """SQLite's errors and the system's as a LedgerError."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")  # errors of the sqlite3 module itself have none
        cure = next((cure for start, cure in _CURES.items() if name.startswith(start)), "")
        raise LedgerError(f"the ledger {path} failed", f"{error} {name}".rstrip(), cure) from error
    except OSError as error:
        raise LedgerError(f"the ledger {path} failed", error.strerror or str(error)) from error


def _checked(
    connection: sqlite3.Connection, path: Path, check: Callable[[sqlite3.Connection, Path], None]
) -> sqlite3.Connection:
    """The connection, closed again where the check raises."""
    try:
        check(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _make(path: Path) -> None:
    """The empty ledger, whole or not at all; one that appears meanwhile is left alone."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in (path.with_name(path.name + ending) for ending in ("-wal", "-journal")):
        if leftover.exists() and not path.exists():
            raise LedgerError(
                f"the ledger {path} is missing, but {leftover.name} is there",
                cure="put the ledger back beside it, or move that file away too",
            )
    handle, beside = tempfile.mkstemp(prefix=f".{path.name[:100]}-", dir=path.parent)
    os.close(handle)
    try:
        with closing(sqlite3.connect(beside)) as connection:
            connection.executescript(TABLES)
        os.link(beside, path)
    except FileExistsError:
        return
    finally:
        Path(beside).unlink()
    sync(path.parent)


def _require_ledger(path: Path) -> None:
    """By the file's own first bytes: SQLite would roll back or check-point what it opens."""
    if not path.exists():
        raise LedgerError(f"there is no ledger {path}")
    if not path.is_file():
        raise LedgerError(f"{path} is no ledger", "it is no plain file")
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if not header.startswith(_MAGIC) or int.from_bytes(header[_APPLICATION_ID]) != APPLICATION_ID:
        found = "another program's SQLite file" if header.startswith(_MAGIC) else "no SQLite file"
        raise LedgerError(
            f"{path} is no ledger", found if header else "it is empty", "name another file, or move it away"
        )


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    _require_version(connection, path)
    damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if damage != "ok":
        raise LedgerError(f"the ledger {path} is damaged", str(damage), _CURES["SQLITE_CORRUPT"])
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise LedgerError(f"{path} lies on a file system without shared memory", cure="choose a local disk")
    connection.execute("PRAGMA synchronous = FULL")


def _require_version(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise LedgerError(
            f"the ledger {path} was written by a later sixgig",
            f"its version is {version}, this sixgig knows {VERSION}",
            "update sixgig, or name another file",
        )
