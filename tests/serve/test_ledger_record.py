"""The ledger's file: batches whole or not at all, once each; and no file harmed that is not ours."""

import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sixgig.ledger import Entry, Ledger, LedgerError, Reader
from sixgig.ledger.schema import VERSION
from tests.serve.ledger_rows import NOON, entry, residency, rows


def stored(of: Entry) -> tuple[object, ...]:
    return tuple(vars(of).values())


def test_what_is_recorded_is_there_to_the_bit(tmp_path: Path) -> None:
    unknown = dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens", "joules"))
    batch = [entry("a", seconds=0.1 + 0.2, model="ü\x00\n"), entry("b", private=True, **unknown)]
    with Ledger.open(tmp_path / "new" / "ledger.sqlite") as ledger:
        ledger.record([*batch, residency()])
        assert rows(ledger.path) == [stored(row) for row in batch]
        assert rows(ledger.path, "residencies") == [tuple(vars(residency()).values())]


def test_a_batch_given_again_counts_once_and_the_first_word_stays(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "l") as ledger:
        ledger.record([entry("a"), residency("a")])
        ledger.record([entry("a", status=500), entry("b"), residency("a")])
        ledger.record([])
    assert rows(tmp_path / "l") == [stored(entry("a")), stored(entry("b"))]
    assert len(rows(tmp_path / "l", "residencies")) == 1


def test_a_batch_with_one_row_that_does_not_go_in_leaves_none(tmp_path: Path) -> None:
    broken = entry("b")
    object.__setattr__(broken, "outcome", "lost")
    with Ledger.open(tmp_path / "l") as ledger:
        with pytest.raises(LedgerError, match="CHECK"):
            ledger.record([entry("a"), broken])
        ledger.record([entry("c")])
    assert rows(tmp_path / "l") == [stored(entry("c"))]


def test_opened_again_it_goes_on(tmp_path: Path) -> None:
    for number in range(3):
        with Ledger.open(tmp_path / "l") as ledger:
            ledger.record([entry(str(number))])
    assert len(rows(tmp_path / "l")) == 3


def test_a_commit_is_synced_and_only_the_owner_reads_the_file(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "l") as ledger:
        pragmas = [
            ledger._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "user_version")
        ]
        ledger.record([entry()])
        assert pragmas == ["wal", 2, VERSION]
        assert [os.stat(f"{ledger.path}{end}").st_mode & 0o777 for end in ("", "-wal")] == [0o600, 0o600]


def test_threads_may_share_it(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "l") as ledger:

        def write(thread: int) -> None:
            for number in range(20):
                ledger.record([entry(f"{thread}-{number}"), entry(f"all-{number}")])

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(write, range(4)))
    assert len(rows(tmp_path / "l")) == 4 * 20 + 20


def test_two_ledgers_begun_at_once_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link, opened = os.link, []

    def overtaken(source: str, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        opened.append(Ledger.open(tmp_path / "l"))
        opened[0].record([entry("first")])
        link(source, target)

    monkeypatch.setattr(os, "link", overtaken)
    with Ledger.open(tmp_path / "l") as late:
        late.record([entry("second")])
    opened[0].close()
    assert len(rows(tmp_path / "l")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["l"]


def test_six_that_begin_it_together_lose_nothing(tmp_path: Path) -> None:
    together = threading.Barrier(6)

    def begin(number: int) -> None:
        together.wait()
        with Ledger.open(tmp_path / "l") as ledger:
            ledger.record([entry(str(number))])

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(begin, range(6)))
    assert len(rows(tmp_path / "l")) == 6


def test_a_ledger_that_cannot_be_begun_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(LedgerError, match="No space left"):
        Ledger.open(tmp_path / "l")
    assert list(tmp_path.iterdir()) == []


def sqlite_file(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(";".join(statements))


def a_ledger(path: Path) -> bytearray:
    with Ledger.open(path) as ledger:
        ledger.record([entry(str(number)) for number in range(200)])
    return bytearray(path.read_bytes())


def truncated(path: Path) -> None:
    path.write_bytes(a_ledger(path)[:20_000])


def scribbled_over(path: Path) -> None:
    content = a_ledger(path)
    content[4096 : 4096 * 4] = os.urandom(4096 * 3)
    path.write_bytes(content)


def of_a_later_version(path: Path) -> None:
    a_ledger(path)
    sqlite_file(path, f"PRAGMA user_version = {VERSION + 1}")


HOSTILE: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: path.write_bytes(b""), "is no ledger; it is empty"),
    (lambda path: path.write_text("dear diary"), "no SQLite file"),
    (lambda path: path.write_bytes(b"SQLite format 3\0"), "another program's SQLite file"),
    (lambda path: path.write_bytes(os.urandom(8192)), "no SQLite file"),
    (lambda path: sqlite_file(path, "CREATE TABLE bookmarks (url)"), "another program's SQLite file"),
    (lambda path: path.mkdir(), "no plain file"),
    (lambda path: os.mkfifo(path), "no plain file"),
    (of_a_later_version, f"later sixgig; its version is {VERSION + 1}, this sixgig knows {VERSION}; update"),
    (truncated, "malformed|damaged"),
    (scribbled_over, "malformed|damaged"),
]


@pytest.mark.parametrize(("make", "words"), HOSTILE)
def test_a_file_that_is_no_sound_ledger_is_refused_and_left_as_it_was(
    tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "l"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(LedgerError, match=words):
        Ledger.open(path)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert [found.name for found in tmp_path.iterdir() if found.suffix != ".sqlite"] == ["l"]


@pytest.mark.parametrize(("make", "words"), HOSTILE)
def test_a_report_refuses_it_too(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    make(tmp_path / "l")
    with pytest.raises(LedgerError, match=words), Reader.open(tmp_path / "l", None) as reader:
        reader.report("model")


def test_what_another_program_left_unfinished_is_not_finished_for_it(tmp_path: Path) -> None:
    path = tmp_path / "l"
    with closing(sqlite3.connect(path)) as other:
        other.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        before = {found.name: found.read_bytes() for found in tmp_path.iterdir() if "shm" not in found.name}
        with pytest.raises(LedgerError):
            Ledger.open(path)
        assert before == {
            found.name: found.read_bytes() for found in tmp_path.iterdir() if "shm" not in found.name
        }


def test_a_new_ledger_is_not_mixed_with_what_an_old_one_left(tmp_path: Path) -> None:
    (tmp_path / "l-wal").write_bytes(b"the last hours of another ledger")
    with pytest.raises(LedgerError, match="l-wal is there"):
        Ledger.open(tmp_path / "l")
    assert [path.name for path in tmp_path.iterdir()] == ["l-wal"]


def test_a_ledger_moved_away_while_in_use_takes_nothing_more(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "l") as ledger:
        ledger.record([entry("a")])
        (tmp_path / "l").rename(tmp_path / "old")
        with pytest.raises(LedgerError, match="moved away"):
            ledger.record([entry("b")])
        (tmp_path / "old").rename(tmp_path / "l")
        ledger.record([entry("b")])
    assert len(rows(tmp_path / "l")) == 2


def test_a_clock_that_jumps_loses_merges_and_doubles_nothing(tmp_path: Path) -> None:
    moments = [NOON, NOON + 3600, 0.0, NOON - 86400 * 400, NOON, 4e9, NOON]
    batch = [replace(entry(str(number)), began_at=moment) for number, moment in enumerate(moments)]
    with Ledger.open(tmp_path / "l") as ledger:
        for row in batch:
            ledger.record([row])
        ledger.record(batch)
    assert rows(tmp_path / "l") == [stored(row) for row in batch]
