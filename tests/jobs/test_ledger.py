"""The ledger from Python: figures as attributes, days as dates, nothing printed."""

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from sixgig.errors import UsageError
from sixgig.hardware.machine import Absent
from sixgig.jobs.ledger import LedgerRequest, ledger
from sixgig.jobs.ledger_picture import draw_ledger
from sixgig.ledger import Ledger, LedgerError
from tests.serve.ledger_rows import entry


@pytest.fixture(autouse=True)
def silence(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    yield
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three requests on two days of November, one of them of another model."""
    days = (1, 1, 2)
    with Ledger.open(tmp_path / "ledger") as written:
        written.record(
            entry(str(n), began_at=datetime(2026, 11, day, 12).timestamp(), model=f"m{n // 2}")
            for n, day in enumerate(days)
        )
    return tmp_path / "ledger"


def test_rows_and_totals_are_attributes(path: Path) -> None:
    by_day = ledger(path).report
    assert [(row.name, row.served.requests) for row in by_day.rows] == [("2026-11-01", 2), ("2026-11-02", 1)]
    assert by_day.total.served.prompt_tokens.total == 300
    assert [row.name for row in ledger(str(path), by="model").report.rows] == ["m0", "m1"]
    assert ledger(path).break_even is None and ledger(path).unsettled_requests == 0


def test_days_are_whole_days_here(path: Path) -> None:
    first, second = date(2026, 11, 1), date(2026, 11, 2)
    for since, until, requests in (
        (None, first, 2),
        (second, None, 1),
        (first, second, 3),
        (first, first, 2),
    ):
        assert ledger(path, since=since, until=until).report.total.served.requests == requests


def test_a_comparison_has_figures_or_a_reason(path: Path) -> None:
    prices: dict[str, Any] = {"input_price": 0.1, "output_price": 0.4}
    compared = ledger(path, **prices, hardware_cost=900, empty_watts=50, tariff=0.3).break_even
    assert compared is not None and not isinstance(compared, Absent)
    assert (compared.api_micros, compared.hardware_micros) == (54, 900_000_000)
    assert compared.loaded_micros == 720_000  # two days
    nothing = ledger(path, **prices, until=date(2026, 10, 1)).break_even
    assert isinstance(nothing, Absent) and "no request" in nothing.reason


def test_a_ledger_that_was_not_begun_is_empty_and_one_that_is_named_must_be_there(tmp_path: Path) -> None:
    assert ledger().report.empty
    with pytest.raises(LedgerError, match="there is no ledger"):
        ledger(tmp_path / "none")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"by": "month"}, "cannot be added up by 'month'; choose one of day, model, key, server"),
        ({"since": date(2026, 11, 2), "until": date(2026, 11, 1)}, "--since is after --until; 2026-11-02"),
        ({"until": date(9999, 12, 31)}, "9999-12-31 is out of range"),
        ({"input_price": 1}, "a comparison needs two prices"),
        ({"input_price": 1, "output_price": 1, "tariff": 1}, "--empty-watts and --tariff need each other"),
        ({"input_price": 1, "output_price": float("inf")}, "--output-price inf cannot be"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_asked_for(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        LedgerRequest(**options)


def test_a_picture_is_drawn_where_there_is_something_to_draw(path: Path, tmp_path: Path) -> None:
    assert draw_ledger(tmp_path / "p.svg", ledger(path).report)
    assert (tmp_path / "p.svg").read_bytes().startswith(b"<?xml")
    assert not draw_ledger(tmp_path / "q.svg", ledger().report) and not (tmp_path / "q.svg").exists()
    with pytest.raises(UsageError, match=r"cannot draw p\.pdf"):
        draw_ledger(tmp_path / "p.pdf", ledger(path).report)
