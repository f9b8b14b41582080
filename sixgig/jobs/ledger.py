"""What was served, by whom, and what it cost: read from a ledger, set beside an API's price."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from math import inf, isfinite
from pathlib import Path
from typing import get_args

from sixgig.errors import UsageError
from sixgig.hardware.machine import Absent
from sixgig.jobs.door import door
from sixgig.jobs.reporter import Request
from sixgig.ledger import (
    ApiPrice,
    BreakEven,
    By,
    LocalUse,
    Reader,
    Report,
    break_even,
    default_path,
    loaded_cost_per_day,
)

MICROS = 1_000_000
MOST_MONEY = 1e7
_COMPARED = ("input_price", "output_price", "hardware_cost", "empty_watts", "tariff")


@dataclass(frozen=True)
class LedgerRequest(Request):
    """file: the ledger; None: that of this user's servers, which may not have begun yet. by: what each row
    adds up, "day", "model", "key" or "server". since, until: the first and the last day, of this system's
    time zone.

    To compare with an API, its input_price and output_price for a million tokens, in the currency of the
    server's configuration; hardware_cost: of the machine, too. empty_watts with tariff, the price of a kWh:
    of staying loaded around the clock, in place of what was recorded. Raises UsageError for what cannot be.
    """

    file: str | Path | None = None
    by: By = "day"
    since: date | None = None
    until: date | None = None
    input_price: float | None = None
    output_price: float | None = None
    hardware_cost: float | None = None
    empty_watts: float | None = None
    tariff: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.by not in get_args(By):
            known = ", ".join(get_args(By))
            raise UsageError(f"a ledger cannot be added up by {self.by!a}", cure=f"choose one of {known}")
        if self.compares and (self.input_price is None or self.output_price is None):
            raise UsageError("a comparison needs two prices", cure="give --input-price and --output-price")
        if (self.empty_watts is None) != (self.tariff is None):
            raise UsageError("--empty-watts and --tariff need each other", cure="give both, or neither")
        for name in _COMPARED:
            _require_usable(f"--{name.replace('_', '-')}", getattr(self, name))
        since, until = self.span
        if since >= until:
            raise UsageError("--since is after --until", f"{self.since}, {self.until}", "swap them")

    @property
    def compares(self) -> bool:
        """Whether an API's price is to be set beside it."""
        return any(getattr(self, name) is not None for name in _COMPARED)

    @property
    def span(self) -> tuple[float, float]:
        """Seconds since 1970: of the first moment, and of the first one after the last."""
        since = 0.0 if self.since is None else _moment(self.since)
        return since, inf if self.until is None else _moment(self.until, days=1)


@dataclass(frozen=True)
class LedgerResult:
    """break_even: None where no comparison was asked for, Absent where there is nothing to compare.

    unsettled_requests went upstream and never ended; unsettled_micros, millionths of the currency, are set
    aside for them.
    """

    report: Report
    break_even: BreakEven | Absent | None
    unsettled_requests: int
    unsettled_micros: int


def _ledger(request: LedgerRequest) -> LedgerResult:
    """What was served, added up. A running server is not disturbed, in this process neither.

    Raises LedgerError where the file is no ledger, or cannot be read; UsageError.
    """
    with _opened(request.file) as reader:
        report = reader.report(request.by, *request.span)
        compared = _comparison(request, reader.local_use(*request.span)) if request.compares else None
        return LedgerResult(report, compared, *reader.unsettled(*request.span))


ledger = door(LedgerRequest, _ledger)


def _opened(file: str | Path | None) -> Reader:
    path = default_path() if file is None else Path(file)
    begun = file is not None or path.exists()
    return Reader.open(path, zone=None) if begun else Reader.of_nothing(zone=None)


def _comparison(request: LedgerRequest, use: LocalUse) -> BreakEven | Absent:
    loaded_per_day = None
    if request.empty_watts is not None:
        loaded_per_day = loaded_cost_per_day(request.empty_watts, _micros(request.tariff))
    price = ApiPrice(_micros(request.input_price), _micros(request.output_price))
    return break_even(use, price, _micros(request.hardware_cost), loaded_per_day)


def _micros(amount: float | None) -> int:
    return round((amount or 0.0) * MICROS)


def _require_usable(option: str, amount: float | None) -> None:
    if amount is not None and not (isfinite(amount) and 0 <= amount <= MOST_MONEY):
        raise UsageError(f"{option} {amount} cannot be", cure=f"give a number from 0 to {MOST_MONEY:.0f}")


def _moment(day: date, days: int = 0) -> float:
    """Seconds since 1970 of a day's first moment here, or of a later day's."""
    try:
        return datetime.combine(day + timedelta(days=days), time.min).timestamp()
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{day:%Y-%m-%d} is out of range", cure="give a day from 1970 to 9000") from error
