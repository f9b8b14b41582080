"""Help that a narrow window shows whole: what an option does stands below it, not beside."""

from __future__ import annotations

import re
import shutil
from functools import partial
from typing import Any

from typer.core import TyperCommand, TyperGroup

_NARROW, _LEAST = 52, 20  # columns: the help of 80 is laid out for no fewer than 50
_OPTION_WIDTH = 4
_LONGEST_SUMMARY = 200
_REMARK = re.compile(r"( *)(\S.*?)  +(\S.*)")


class Command(TyperCommand):
    """A verb."""

    def get_short_help_str(self, limit: int = _LONGEST_SUMMARY) -> str:
        """Its first sentence, whole, whatever the width that is left for it."""
        return super().get_short_help_str(max(limit, _LONGEST_SUMMARY))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """As typer, for the window's width."""
        _fit(self, formatter)
        super().format_help(ctx, formatter)


class Group(TyperGroup):
    """All of them."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """As typer, for the window's width."""
        _fit(self, formatter)
        super().format_help(ctx, formatter)


def _fit(command: TyperCommand | TyperGroup, formatter: Any) -> None:
    columns = shutil.get_terminal_size().columns
    if columns >= _NARROW:
        return
    formatter.width = max(columns - 2, _LEAST)
    formatter.write_dl = partial(formatter.write_dl, col_max=_OPTION_WIDTH)
    if command.epilog:
        lines = command.epilog.split("\n")
        command.epilog = "\n".join(line if len(line) < formatter.width else _below(line) for line in lines)


def _below(line: str) -> str:
    """An example with its remark on a line of its own."""
    return _REMARK.sub(r"\1\2\n\1    \3", line)
