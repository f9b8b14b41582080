"""Caps on spending: never passed, whatever happens in between; nothing spent is ever forgotten."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sixgig.gateway.gateway import _limits
from sixgig.ledger import Exceeded, Ledger, LedgerError, Limits, Reader
from sixgig.ledger.days import day_start, local_day, next_day, next_month
from sixgig.ledger.spending import exceeded
from sixgig.router import Spending

ROOT = Path(__file__).resolve().parents[2]
NOON = datetime(2026, 11, 15, 12, tzinfo=UTC).timestamp()
DAY = 86400.0
NONE: tuple[str, str, str] = ("up", "", "m")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "l") as opened:
        yield opened


def within(ledger: Ledger, id: str, at: float, micros: int, limits: Limits) -> tuple[Exceeded, ...]:
    return ledger.reserve_within(id, at, *NONE, micros, limits)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Havana", "Australia/Lord_Howe"])
def test_caps_follow_the_clock_of_the_machine_through_its_changes(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a running gateway, whatever the season it was started in."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        limits = _limits(Spending(per_day=Decimal(1), per_month=Decimal(1)))
        for hours in range(0, 366 * 24, 5):
            at = NOON + 3600.0 * hours
            day, month = exceeded(limits, at, 2_000_000, lambda start: 0)
            today, there = local_day(at, ZoneInfo(zone)), ZoneInfo(zone)
            assert day.ends_at == day_start(next_day(today), there)
            assert month.ends_at == day_start(next_month(today), there)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_reservation_counts_in_full_until_it_is_settled(ledger: Ledger) -> None:
    ledger.reserve("a", NOON, *NONE, 100)
    ledger.reserve("b", NOON, *NONE, 10)
    assert ledger.spent(NOON) == 110
    ledger.settle("a", 30)
    assert ledger.spent(NOON) == 40
    ledger.settle("a", 250)
    assert ledger.spent(NOON) == 260 and ledger.spent(NOON + 1) == 0


def test_reports_tell_what_was_set_aside_and_never_settled(ledger: Ledger) -> None:
    ledger.reserve("a", NOON, "one", "", "m", 100)
    ledger.reserve("b", NOON, "one", "", "m", 10)
    ledger.reserve("c", NOON - DAY, "two", "", "m", 5)
    ledger.settle("b", 3)
    with Reader.open(ledger.path, UTC) as reader:
        assert reader.spent(NOON) == {"one": 103}
        assert reader.spent(0.0) == {"one": 103, "two": 5}
        assert reader.unsettled() == (2, 105)
        assert reader.unsettled(NOON) == (1, 100)


def test_settled_at_nothing_it_frees_all(ledger: Ledger) -> None:
    ledger.reserve("a", NOON, *NONE, 100)
    ledger.settle("a", 0)
    assert ledger.spent(0.0) == 0


def test_the_same_call_again_changes_nothing(ledger: Ledger) -> None:
    limits = Limits(100, None, UTC)
    assert [within(ledger, "a", NOON, 80, limits) for _ in range(3)] == [()] * 3
    ledger.reserve("a", NOON, *NONE, 80)
    assert ledger.spent(0.0) == 80


def test_an_id_stands_for_one_reservation(ledger: Ledger) -> None:
    ledger.reserve("a", NOON, *NONE, 80)
    with pytest.raises(LedgerError, match="another reservation"):
        ledger.reserve("a", NOON, *NONE, 81)
    with pytest.raises(LedgerError, match="another reservation"):
        within(ledger, "a", NOON + 1, 80, Limits(None, None, UTC))
    with pytest.raises(LedgerError, match="nothing was reserved"):
        ledger.settle("b", 1)
    with pytest.raises(ValueError):
        ledger.settle("a", -1)
    assert ledger.spent(0.0) == 80


def test_what_would_pass_a_cap_is_told_and_not_reserved(ledger: Ledger) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    limits = Limits(100, 150, berlin)
    midnight = datetime(2026, 11, 16, tzinfo=berlin).timestamp()
    month_end = datetime(2026, 12, 1, tzinfo=berlin).timestamp()
    assert within(ledger, "a", NOON, 100, limits) == ()
    assert within(ledger, "b", NOON, 1, limits) == (Exceeded("day", 100, 100, 1, midnight),)
    assert within(ledger, "c", midnight, 51, limits) == (Exceeded("month", 150, 100, 51, month_end),)
    assert [over.period for over in within(ledger, "d", NOON, 200, limits)] == ["day", "month"]
    assert within(ledger, "e", midnight, 50, limits) == ()
    assert within(ledger, "f", month_end, 100, limits) == ()
    assert ledger.spent(0.0) == 250


def test_the_day_is_the_owners_not_the_worlds(ledger: Ledger) -> None:
    auckland = timezone(timedelta(hours=13))
    ledger.reserve("a", NOON - 7200, *NONE, 100)
    assert within(ledger, "b", NOON, 1, Limits(100, None, UTC)) != ()
    assert within(ledger, "b", NOON, 1, Limits(100, None, auckland)) == ()


def test_without_caps_nothing_is_exceeded(ledger: Ledger) -> None:
    assert within(ledger, "a", NOON, 10**12, Limits(None, None, None)) == ()


def test_a_clock_put_back_frees_no_budget(ledger: Ledger) -> None:
    limits = Limits(100, 1000, UTC)
    assert within(ledger, "ahead", NOON + 3 * DAY, 100, limits) == ()
    for number, days_back in enumerate((0, 3, 400)):
        assert within(ledger, str(number), NOON - days_back * DAY, 1, limits) != ()


CAP = 1000
events = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 400), st.integers(-3, 3)),
        st.tuples(st.just("settle"), st.integers(0, 400), st.integers(0, 30)),
        st.tuples(st.just("crash"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "l"


def spent_since(counted: dict[str, tuple[float, int]], start: float) -> int:
    return sum(micros for at, micros in counted.values() if at >= start)


@settings(max_examples=60)
@given(events, st.integers(0, CAP), st.integers(0, 2 * CAP), st.sampled_from([UTC, ZoneInfo("Asia/Tokyo")]))
def test_no_interleaving_passes_a_cap(
    story: list[tuple[str, int, int]], per_day: int, per_month: int, zone: ZoneInfo
) -> None:
    """Settling at no more than was reserved, sums stay within; at more, nothing further is let through."""
    limits, counted, clock = Limits(per_day, per_month, zone), dict[str, tuple[float, int]](), NOON
    with scratch() as path:
        ledger = Ledger.open(path)
        for number, (what, micros, step) in enumerate(story):
            if what == "crash":  # a second connection stands for the next process; the first is just dropped
                ledger = Ledger.open(path)
            elif what == "settle" and counted:
                id = list(counted)[step % len(counted)]
                ledger.settle(id, micros)
                counted[id] = (counted[id][0], micros)
            elif what == "reserve":
                clock += step * DAY / 2
                today = local_day(clock, zone)
                starts = (day_start(today, zone), day_start(today.replace(day=1), zone))
                fits = all(
                    spent_since(counted, start) + micros <= cap
                    for start, cap in zip(starts, (per_day, per_month), strict=True)
                )
                assert (within(ledger, str(number), clock, micros, limits) == ()) == fits
                if fits:
                    counted[str(number)] = (clock, micros)
            assert ledger.spent(0.0) == spent_since(counted, 0.0)
        ledger.close()


SPENDER = """
import sys
from pathlib import Path
from sixgig.ledger import Ledger, Limits

with Ledger.open(Path(sys.argv[1])) as ledger:
    print("ready", flush=True)
    sys.stdin.readline()
    granted = [ledger.reserve_within(f"{sys.argv[2]}-{n}", 1.0, "up", "", "m", 3, Limits(300, None, None))
               for n in range(100)]
    print(granted.count(()), flush=True)
"""


def test_two_processes_share_one_cap(tmp_path: Path) -> None:
    spenders = [
        subprocess.Popen(
            [sys.executable, "-c", SPENDER, str(tmp_path / "l"), name],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in ("a", "b")
    ]  # fmt: skip
    for spender in spenders:
        assert spender.stdout is not None and spender.stdout.readline() == "ready\n"
    for spender in spenders:
        assert spender.stdin is not None
        spender.stdin.write("go\n")
        spender.stdin.flush()
    granted = [int(spender.communicate()[0]) for spender in spenders]
    assert sum(granted) == 100
    with Ledger.open(tmp_path / "l") as ledger:
        assert ledger.spent(0.0) == 300
