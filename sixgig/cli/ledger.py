"""`sixgig ledger`: what was served, by whom, and what it cost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sixgig.cli.parameters import Json, Quiet
from sixgig.errors import UsageError

if TYPE_CHECKING:
    from sixgig.hardware.machine import Absent
    from sixgig.ledger import BreakEven, LocalUse, Reader

EPILOG = """\b
Examples:
  sixgig ledger                                 day by day
  sixgig ledger --by model --since 2026-11-01
  sixgig ledger --by key --csv > keys.csv
  sixgig ledger --plot november.svg --since 2026-11-01 --until 2026-11-30
  sixgig ledger --input-price 0.15 --output-price 0.60 --hardware-cost 900

\b
Money is in the currency of the server's configuration. Days are those of this system's time zone.
"""
MICROS = 1_000_000
MOST_MONEY = 1e7


class Grouping(StrEnum):
    """What makes a line."""

    DAY = "day"
    MODEL = "model"
    KEY = "key"
    SERVER = "server"


ByOption = Annotated[Grouping, typer.Option("--by", help="What each line adds up.")]
Since = Annotated[
    datetime | None,
    typer.Option(
        "--since", metavar="DATE", formats=["%Y-%m-%d"], help="From this day on.", show_default="all"
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option(
        "--until", metavar="DATE", formats=["%Y-%m-%d"], help="To the end of this day.", show_default="all"
    ),
]
LedgerFile = Annotated[
    str | None,
    typer.Option("--file", metavar="FILE", help="The ledger.", show_default="that of sixgig serve"),
]
Csv = Annotated[bool, typer.Option("--csv", help="Comma-separated values on stdout; all else on stderr.")]
Plot = Annotated[
    str | None,
    typer.Option("--plot", metavar="FILE", help="Draw tokens and costs too, as .svg or .png."),
]
InputPrice = Annotated[
    float | None,
    typer.Option("--input-price", metavar="PRICE", help="An API's price for a million tokens in: compare."),
]
OutputPrice = Annotated[
    float | None,
    typer.Option("--output-price", metavar="PRICE", help="The same API's for a million tokens out."),
]
HardwareCost = Annotated[
    float | None,
    typer.Option("--hardware-cost", metavar="PRICE", help="Compare with what the machine cost, too."),
]
EmptyWatts = Annotated[
    float | None,
    typer.Option(
        "--empty-watts",
        metavar="W",
        help="Compare with these watts around the clock as the cost of staying loaded; needs --tariff.",
        show_default="as recorded",
    ),
]
Tariff = Annotated[
    float | None, typer.Option("--tariff", metavar="PRICE", help="Price of a kWh, for --empty-watts.")
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("ledger", epilog=EPILOG)(ledger)


def ledger(
    by: ByOption = Grouping.DAY,
    since: Since = None,
    until: Until = None,
    file: LedgerFile = None,
    csv: Csv = False,
    json: Json = False,
    plot: Plot = None,
    input_price: InputPrice = None,
    output_price: OutputPrice = None,
    hardware_cost: HardwareCost = None,
    empty_watts: EmptyWatts = None,
    tariff: Tariff = None,
    quiet: Quiet = False,
) -> None:
    """Show what sixgig serve has served, and what it cost.

    Energy is what a request took above an idle machine; staying loaded is what a model in memory takes beyond
    an empty one. A figure that some requests lack is shown with how many have it. A running server is not
    disturbed.
    """
    from sixgig.cli.ledger_picture import save_picture
    from sixgig.cli.ledger_tables import document, show, write_csv
    from sixgig.cli.report import write_json
    from sixgig.jobs.pictures import require_drawable

    if csv and json:
        raise UsageError("--csv and --json exclude each other", cure="choose one")
    if plot is not None:
        require_drawable(Path(plot))
    compare = _comparison(input_price, output_price, hardware_cost, empty_watts, tariff)
    with _opened(file) as reader:
        span = (_start(since), _end(until))
        if span[0] >= span[1]:
            raise UsageError("--since is after --until", f"{since}, {until}", "swap them")
        found = reader.report(by.value, *span)
        compared = compare(reader.local_use(*span)) if compare else None
        unsettled = reader.unsettled(*span)
    if json:
        write_json(document(found, compared))
    elif csv:
        write_csv(found)
    else:
        show(found, compared, unsettled)
    if plot is not None:
        save_picture(Path(plot), found)


def _opened(file: str | None) -> Reader:
    """The ledger named; or the server's own, which may not have begun yet."""
    from sixgig.ledger import Reader, default_path

    if file is not None:
        return Reader.open(Path(file), zone=None)
    path = default_path()
    return Reader.open(path, zone=None) if path.exists() else Reader.of_nothing(zone=None)


def _comparison(
    input_price: float | None,
    output_price: float | None,
    hardware_cost: float | None,
    empty_watts: float | None,
    tariff: float | None,
) -> Callable[[LocalUse], BreakEven | Absent] | None:
    """The comparison asked for, its options checked; None where none of them was given."""
    from sixgig.ledger import ApiPrice, break_even, loaded_cost_per_day

    if {input_price, output_price, hardware_cost, empty_watts, tariff} == {None}:
        return None
    if input_price is None or output_price is None:
        raise UsageError("a comparison needs two prices", cure="give --input-price and --output-price")
    if (empty_watts is None) != (tariff is None):
        raise UsageError("--empty-watts and --tariff need each other", cure="give both, or neither")
    loaded_per_day = None
    if empty_watts is not None and tariff is not None:
        watts = _usable("--empty-watts", empty_watts)
        loaded_per_day = loaded_cost_per_day(watts, _micros("--tariff", tariff))
    return partial(
        break_even,
        price=ApiPrice(_micros("--input-price", input_price), _micros("--output-price", output_price)),
        hardware_micros=_micros("--hardware-cost", hardware_cost or 0.0),
        loaded_per_day=loaded_per_day,
    )


def _micros(option: str, amount: float) -> int:
    return round(_usable(option, amount) * MICROS)


def _usable(option: str, amount: float) -> float:
    if not (isfinite(amount) and 0 <= amount <= MOST_MONEY):
        raise UsageError(f"{option} {amount} cannot be", cure=f"give a number from 0 to {MOST_MONEY:.0f}")
    return amount


def _start(day: datetime | None) -> float:
    return 0.0 if day is None else _moment(day)


def _end(day: datetime | None) -> float:
    return inf if day is None else _moment(day, days=1)


def _moment(day: datetime, days: int = 0) -> float:
    """Seconds since 1970 of a day's first moment here, or of a later day's."""
    try:
        return (day + timedelta(days=days)).timestamp()
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{day:%Y-%m-%d} is out of range", cure="give a day from 1970 to 9000") from error
