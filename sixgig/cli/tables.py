"""Tables that nothing is cut off of: in a narrow window a row becomes a heading and lines below it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

_LEAST_NAME = 20  # characters: a first column that has fewer is no name that can be read
_ANY_WIDTH = 10_000


def show_table(console: Console, table: Table) -> None:
    """The table as it is, else with its first column folded, else row by row."""
    excess = console.measure(table, options=console.options.update(max_width=_ANY_WIDTH)).maximum
    excess -= console.width
    names = table.columns[0]
    room = max((_text(cell).cell_len for cell in names.cells), default=0) - excess
    if excess > 0 and room >= _LEAST_NAME:
        names.width, names.no_wrap, names.overflow = room, False, "fold"
    if excess <= 0 or room >= _LEAST_NAME:
        console.print(table)
        return
    for line in _row_by_row(table):
        console.print(line, overflow="fold")


def _row_by_row(table: Table) -> Iterator[Text]:
    if table.title:
        yield _text(table.title)
    headers = [_text(column.header).plain for column in table.columns]
    for row in zip(*(map(_text, column.cells) for column in table.columns), strict=True):
        name, *cells = row
        if not any(cell.plain.strip() for cell in row):
            continue
        if table.show_header:
            yield from (Text(""), name)
            told = ((header, _flat(cell)) for header, cell in zip(headers[1:], cells, strict=True))
            yield from (Text(f"  {header}: {words}") for header, words in told if words)
        else:
            yield Text(f"{name.plain}: {' '.join(filter(None, map(_flat, cells)))}")
    yield Text("")
    if table.caption:
        yield _text(table.caption)


def _flat(cell: Text) -> str:
    return " ".join(cell.plain.split())


def _text(cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else Text.from_markup(str(cell))
