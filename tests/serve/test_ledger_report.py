"""Reports add up to a plain recount; they neither wait for a writer nor see half of what it writes."""

import dataclasses
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, date, tzinfo
from math import inf
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sixgig.ledger import By, Entry, Ledger, LedgerError, Loaded, Reader, Residency, Served, Sum, Totals
from sixgig.ledger.days import local_day
from tests.serve.ledger_rows import NOON, entry, residency

ROOT = Path(__file__).resolve().parents[2]
BERLIN = ZoneInfo("Europe/Berlin")

moments = st.sampled_from([0.0, NOON, NOON + 40_000, NOON + 90_000, 4e9]) | st.floats(NOON, NOON + 3e5)
amounts, maybe = st.integers(0, 10**6), st.none() | st.integers(0, 10**6)
shared: dict[str, Any] = dict(
    began_at=moments, model=st.sampled_from(["m", "n", "ö"]), seconds=st.integers(0, 1000).map(float),
    joules=st.none() | st.integers(0, 1000).map(float), energy_estimated=st.booleans(),
    energy_cost_micros=maybe,
)  # fmt: skip
entries = st.builds(
    entry, **shared, key=st.sampled_from(["", "anna"]), served_by=st.sampled_from(["local", "up", "far"]),
    outcome=st.sampled_from(["ok", "failed", "cancelled"]), prompt_tokens=maybe, cached_tokens=maybe,
    completion_tokens=maybe, upstream_cost_micros=maybe,
)  # fmt: skip
residencies = st.builds(residency, **shared)


def numbered(rows: Iterable[Any]) -> list[Any]:
    return [dataclasses.replace(row, id=str(number)) for number, row in enumerate(rows)]


def counted(rows: Iterable[Any], name: str, expected: Callable[[Any], bool] = lambda row: True) -> Sum[Any]:
    figures = [(getattr(row, name), "joules" in name or "energy" in name, row) for row in rows]
    known = [(value, energy and row.energy_estimated) for value, energy, row in figures if value is not None]
    if name == "completion_tokens":  # of an answer cut short its pieces were counted
        known = [(value, row.outcome != "ok") for value, _, row in figures if value is not None]
    total = sum(value for value, _ in known) if known else None
    of = sum(value is not None or expected(row) for value, _, row in figures)
    return Sum(total, len(known), of, sum(estimated for _, estimated in known))


def recount(name: str, rows: list[Entry], stays: list[Residency]) -> Totals:
    def here(row: Entry) -> bool:
        return row.served_by == "local"

    ok, failed, cancelled = (
        sum(row.outcome == outcome for row in rows) for outcome in ("ok", "failed", "cancelled")
    )
    served = Served(
        requests=len(rows),
        ok=ok,
        failed=failed,
        cancelled=cancelled,
        busy_s=sum(row.seconds for row in rows),
        prompt_tokens=counted(rows, "prompt_tokens"),
        cached_tokens=counted(rows, "cached_tokens"),
        completion_tokens=counted(rows, "completion_tokens"),
        joules=counted(rows, "joules", here),
        energy_micros=counted(rows, "energy_cost_micros", here),
        upstream_micros=counted(rows, "upstream_cost_micros", lambda row: not here(row)),
    )
    loaded = Loaded(
        sum(stay.seconds for stay in stays), counted(stays, "joules"), counted(stays, "energy_cost_micros")
    )
    return Totals(name, served, loaded)


GROUPS: dict[By, tuple[Callable[[Entry, tzinfo], str], Callable[[Residency, tzinfo], str | None]]] = {
    "day": (
        lambda row, zone: local_day(row.began_at, zone).isoformat(),
        lambda stay, zone: local_day(stay.began_at, zone).isoformat(),
    ),
    "model": (lambda row, zone: row.model, lambda stay, zone: stay.model),
    "key": (lambda row, zone: row.key, lambda stay, zone: None),
    "server": (lambda row, zone: row.served_by, lambda stay, zone: "local"),
}


@settings(max_examples=60)
@given(
    st.lists(entries, max_size=20), st.lists(residencies, max_size=6), st.sampled_from([UTC, BERLIN]),
    st.tuples(moments, moments | st.just(inf)) | st.just((0.0, inf)),
)  # fmt: skip
def test_a_report_is_what_a_plain_recount_gives(
    rows: list[Entry], stays: list[Residency], zone: tzinfo, span: tuple[float, float]
) -> None:
    rows, stays = numbered(rows), numbered(stays)
    with tempfile.TemporaryDirectory() as folder:
        with Ledger.open(Path(folder) / "l") as ledger:
            ledger.record([*rows, *stays])
        rows = [row for row in rows if span[0] <= row.began_at < span[1]]
        stays = [stay for stay in stays if span[0] <= stay.began_at < span[1]]
        with Reader.open(Path(folder) / "l", zone) as reader:
            for by, (of_row, of_stay) in GROUPS.items():
                names = {of_row(row, zone) for row in rows} | {of_stay(stay, zone) for stay in stays}
                expected = [
                    recount(
                        name,
                        [row for row in rows if of_row(row, zone) == name],
                        [stay for stay in stays if of_stay(stay, zone) == name],
                    )
                    for name in sorted(name for name in names if name is not None)
                ]
                found = reader.report(by, *span)
                assert list(found.rows) == expected
                assert found.total == recount("", rows, stays)
                assert found.empty == (not rows and not stays)
            use = reader.local_use(*span)
    here = [row for row in rows if row.served_by == "local"]
    assert (use.served, use.loaded) == (recount("", here, []).served, recount("", [], stays).loaded)
    moments_here = [row.began_at for row in here] + [stay.began_at for stay in stays]
    assert use.days == len({local_day(moment, zone) for moment in moments_here})
    assert use.metered_tokens == sum(
        (row.prompt_tokens or 0) + (row.completion_tokens or 0)
        for row in here
        if row.energy_cost_micros is not None
    )


def test_a_sum_says_how_many_it_covers_and_nothing_known_is_not_nothing(tmp_path: Path) -> None:
    rows = [entry("a", joules=5.0), entry("b", joules=None), entry("c", joules=7.0, energy_estimated=True)]
    with Ledger.open(tmp_path / "l") as ledger:
        ledger.record([*rows, entry("d", joules=None, served_by="up", model="away")])
    with Reader.open(tmp_path / "l", None) as reader:
        away, mine = reader.report("model").rows
    assert mine.served.joules == Sum(12.0, 2, 3, 1) and not mine.served.joules.complete
    assert away.served.joules == Sum(None, 0, 0)
    assert away.served.upstream_micros == Sum(None, 0, 1)


def test_a_day_begins_at_the_owners_midnight_also_when_the_clocks_change(tmp_path: Path) -> None:
    night = [1_792_879_200.0 + 3600 * hours for hours in (-1, 0, 24, 25)]  # around 25 October 2026, 25 hours
    with Ledger.open(tmp_path / "l") as ledger:
        ledger.record(entry(str(at), began_at=at) for at in night)
    with Reader.open(tmp_path / "l", BERLIN) as reader:
        found = [(row.name, row.served.requests) for row in reader.report("day").rows]
    assert found == [("2026-10-24", 1), ("2026-10-25", 2), ("2026-10-26", 1)]
    assert local_day(night[2], BERLIN) == date(2026, 10, 25)


def test_a_missing_ledger_is_not_made_by_reading_it(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger"):
        Reader.open(tmp_path / "l", None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a?b#c%20d", "ü mit Leerzeichen", "file:x"])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    with Ledger.open(tmp_path / name) as ledger:
        ledger.record([entry()])
        with Reader.open(tmp_path / name, None) as reader:
            assert reader.report("key").total.served.requests == 1


def test_a_report_cannot_write(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "l").close()
    with Reader.open(tmp_path / "l", None) as reader, pytest.raises(sqlite3.Error, match="readonly"):
        reader._connection.execute("DELETE FROM entries")


def test_reading_does_not_wait_for_a_transaction_nor_see_it(tmp_path: Path) -> None:
    path = tmp_path / "l"
    with Ledger.open(path) as ledger:
        ledger.record([entry("a")])
        with closing(sqlite3.connect(path, isolation_level=None)) as other, Reader.open(path, None) as reader:
            other.execute("BEGIN IMMEDIATE")
            other.execute("DELETE FROM entries")
            assert reader.report("day").total.served.requests == 1
            other.execute("COMMIT")
            assert reader.report("day").total.served.requests == 0


def test_reading_holds_up_no_writer_and_stays_in_one_moment(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "l") as ledger, Reader.open(tmp_path / "l", None) as reader:
        ledger.record([entry("a")])
        with reader._snapshot() as connection:
            before = connection.execute("SELECT COUNT(*) FROM entries").fetchone()
            ledger.record([entry("b")])
            assert connection.execute("SELECT COUNT(*) FROM entries").fetchone() == before
        assert reader.report("day").total.served.requests == 2


WRITER = """
import sys
from pathlib import Path
from sixgig.ledger import Ledger
from tests.serve.ledger_rows import entry, residency

with Ledger.open(Path(sys.argv[1])) as ledger:
    print("ready", flush=True)
    number = 0
    while True:
        ledger.record([*(entry(f"{number}-{n}") for n in range(7)), residency(str(number))])
        number += 1
"""


def test_another_process_reads_whole_batches_while_the_server_writes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "l")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        seen = [0]
        with Reader.open(tmp_path / "l", None) as reader:
            while len(set(seen)) < 20:
                total = reader.report("day").total
                assert total.served.requests == 7 * total.loaded.joules.of
                seen.append(total.served.requests)
        writer.kill()
    assert seen == sorted(seen)
