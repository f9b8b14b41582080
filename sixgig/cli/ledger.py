"""`sixgig ledger`: what was served, by whom, and what it cost."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sixgig.cli.parameters import Json, Quiet
from sixgig.cli.terminal import warn
from sixgig.errors import UsageError

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
    from sixgig.cli.ledger_tables import document, show, write_csv
    from sixgig.cli.report import write_json
    from sixgig.jobs.ledger import ledger as read
    from sixgig.jobs.ledger_picture import draw_ledger
    from sixgig.jobs.pictures import require_drawable

    if csv and json:
        raise UsageError("--csv and --json exclude each other", cure="choose one")
    if plot is not None:
        require_drawable(Path(plot))
    result = read(
        file,
        by=by.value,
        since=since,
        until=until,
        input_price=input_price,
        output_price=output_price,
        hardware_cost=hardware_cost,
        empty_watts=empty_watts,
        tariff=tariff,
    )
    if json:
        write_json(document(result))
    elif csv:
        write_csv(result.report)
    else:
        show(result)
    if plot is not None and not draw_ledger(Path(plot), result.report):
        warn(f"nothing to draw: {plot} was not written")
