"""What `sixgig ledger` says: tables for people, a document and CSV for programs."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields
from fractions import Fraction
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sixgig import __version__
from sixgig.cli.tables import show_table
from sixgig.cli.terminal import escaped
from sixgig.hardware.machine import Absent
from sixgig.jobs.ledger import LedgerResult
from sixgig.ledger import BreakEven, Loaded, Report, Served, Sum, Totals
from sixgig.units import format_seconds

MICROS = 1_000_000
MILLION = 1_000_000
# Also as wide as an ideograph, and after blanks, which some programs pass over.
_FORMULA = re.compile(r"[\s\x00]*[=+\-@|%\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_NAMELESS = {"key": "(no key)"}
_REQUESTS = ("requests", "ok", "failed", "cancelled", "busy")
_TOKENS = ("tokens in", "of them cached", "tokens out")
_COSTS = ("energy", "its cost", "loaded", "its cost", "upstream")


def document(result: LedgerResult) -> dict[str, Any]:
    """`sixgig ledger --json`. Money in millionths; a figure is {total, measured, of, estimated}."""
    report, compared = result.report, result.break_even
    return {
        "version": __version__,
        "by": report.by,
        "rows": [asdict(row) for row in report.rows],
        "total": asdict(report.total),
        "break_even": None if compared is None else _break_even_document(compared),
    }


def _break_even_document(compared: BreakEven | Absent) -> dict[str, Any]:
    """What is not known is {reason}, as everywhere."""
    if isinstance(compared, Absent):
        return asdict(compared)
    values = asdict(compared)
    return {name: float(value) if isinstance(value, Fraction) else value for name, value in values.items()}


def write_csv(report: Report) -> None:
    """On stdout: a head, then a line for each row; nothing between commas where a figure is not known."""
    blank = _flat(asdict(Totals("", Served(), Loaded())))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([report.by, *list(blank)[1:]])
    writer.writerows([_cell_text(row.name), *list(_flat(asdict(row)).values())[1:]] for row in report.rows)


def _cell_text(text: str) -> str:
    """A text as no spreadsheet computes it, nor reads it as two lines: a quote before what begins a formula,
    controls, and what else ends lines, written as in Python. https://owasp.org/www-community/attacks/CSV_Injection
    """
    return f"'{escaped(text)}" if _FORMULA.match(text) else escaped(text)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"served": {"ok": 1, "joules": {"total": 2.0, "of": 3}}} as served_ok, served_joules and so on."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        path = prefix if name == "total" else f"{prefix}_{name}".lstrip("_")
        flat.update(_flat(value, path) if isinstance(value, Mapping) else {path: value})
    return flat


def show(result: LedgerResult) -> None:
    """The tables on stdout, the comparison below them; one sentence where there is nothing."""
    console = Console(file=sys.stdout, highlight=False)
    report, compared = result.report, result.break_even
    if result.unsettled_requests:
        words = (
            f"{result.unsettled_requests} requests left and never ended; "
            f"{money(result.unsettled_micros)} counts for them against the caps."
        )
        console.print(Text(words), soft_wrap=True)
    if report.empty:
        console.print("Nothing has been served, as far as this ledger and these days go.", soft_wrap=True)
        return
    for columns, cells in ((_REQUESTS, _request_cells), (_TOKENS, _token_cells), (_COSTS, _cost_cells)):
        show_table(console, _table(report, columns, cells))
    for line in (*_legend(report), *(_comparison(compared) if compared is not None else ())):
        console.print(Text(line), soft_wrap=True)


def _table(report: Report, columns: tuple[str, ...], cells: Callable[[Totals], list[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column(report.by, overflow="fold", min_width=len("2026-11-30"))
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    for row in report.rows:
        name = escaped(row.name) or _NAMELESS.get(report.by, "(no name)")
        table.add_row(Text(name), *cells(row))
    table.add_section()
    table.add_row("total", *cells(report.total), style="bold")
    return table


def _request_cells(row: Totals) -> list[str]:
    served = row.served
    counts = (served.requests, served.ok, served.failed, served.cancelled)
    return [*map(_count, counts), format_seconds(served.busy_s)]


def _token_cells(row: Totals) -> list[str]:
    served = row.served
    return [
        _cell(tokens, _count)
        for tokens in (served.prompt_tokens, served.cached_tokens, served.completion_tokens)
    ]


def _cost_cells(row: Totals) -> list[str]:
    served, loaded = row.served, row.loaded
    return [
        _cell(served.joules, _energy),
        _cell(served.energy_micros, money),
        _cell(loaded.joules, _energy),
        _cell(loaded.energy_micros, money),
        _cell(served.upstream_micros, money),
    ]


def _cell(figure: Sum[Any], words: Callable[[Any], str]) -> str:
    """A figure with what it covers, where that is not everything."""
    if not figure.of:
        return "-"
    known = "?" if figure.total is None else words(figure.total)
    count = "" if figure.complete else f" ({figure.measured}/{figure.of})"
    return ("~" if figure.estimated else "") + known + count


def _count(number: int) -> str:
    return f"{number:,}"


def _energy(joules: float) -> str:
    watt_hours = joules / 3600
    return f"{watt_hours / 1000:,.2f} kWh" if watt_hours >= 1000 else f"{watt_hours:.3g} Wh"


def money(micros: float | Fraction) -> str:
    """An amount in the owner's currency, with as many decimals as its size asks for."""
    amount = float(micros) / MICROS
    decimals = 2 if amount >= 1 or not amount else 4 if amount >= 0.01 else 6
    return f"{amount:,.{decimals}f}"


def _legend(report: Report) -> Iterator[str]:
    """What the marks mean, where there are any."""
    figures = _figures(report.total)
    if any(not figure.complete for figure in figures):
        yield "(97/100): of 97 in 100; what the others came to is not known"
    if any(figure.estimated for figure in figures):
        yield "~: rests on estimates, in part at least"


def _figures(row: Totals) -> list[Sum[Any]]:
    values = (getattr(part, field.name) for part in (row.served, row.loaded) for field in fields(part))
    return [value for value in values if isinstance(value, Sum)]


def _comparison(compared: BreakEven | Absent) -> Iterator[str]:
    if isinstance(compared, Absent):
        yield f"no comparison: {compared.reason}"
        return
    served = compared.use.served
    yield (
        f"at the API: {money(compared.api_micros)} for {_cell(served.prompt_tokens, _count)} tokens in "
        f"and {_cell(served.completion_tokens, _count)} out; cached ones cost in full there"
    )
    yield (
        f"here: {money(compared.here_micros)}, of it energy {_cell(served.energy_micros, money)}, "
        f"staying loaded {_known(compared.loaded_micros)}, hardware {money(compared.hardware_micros)}"
    )
    yield _threshold(compared)
    if compared.hardware_micros:
        yield _payback(compared)


def _threshold(compared: BreakEven) -> str:
    million = (
        f"a million tokens {_known(compared.own_per_token, MILLION)} here, "
        f"{money(compared.api_per_token * MILLION)} there"
    )
    numbers = f"staying loaded costs {_known(compared.loaded_per_day)} a day, {million}"
    tokens = compared.tokens_per_day
    if isinstance(tokens, Absent):
        return f"break-even: {tokens.reason} ({numbers})"
    return f"cheaper here from {float(tokens):,.0f} tokens a day on ({numbers})"


def _payback(compared: BreakEven) -> str:
    days = compared.paid_back_days
    if isinstance(days, Absent):
        return f"the hardware is paid for: {days.reason}"
    return f"the hardware is paid for after {float(days):,.0f} days like the {compared.use.days} seen here"


def _known(micros: Fraction | int | Absent, times: int = 1) -> str:
    return "?" if isinstance(micros, Absent) else money(micros * times)
