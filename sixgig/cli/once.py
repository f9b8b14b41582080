"""How a verb reads its options and how it ends: none given twice in silence, no signal that loses work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from typer.core import TyperOption

from sixgig.cli.help import Command
from sixgig.cli.terminal import warn_line
from sixgig.interrupts import Terminated, ended_as_by_ctrl_c

_SIGNALLED = 128  # plus the signal's number is what a shell sees
# Of options with these values a second one would be meant beside the first, not instead of it.
_NAMING = ("FILE", "FOLDER", "PATH", "TEXT", "LIST", "OUT", "NAME")


class OnceCommand(Command):
    """Refuses an option that names something twice, and says of any other which value counts."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """As typer's."""
        _, _, met = self.make_parser(ctx).parse_args(args=list(args))
        for option, times in Counter(met).items():
            if isinstance(option, TyperOption) and not (option.is_flag or option.multiple) and times > 1:
                name = max(option.opts, key=len)
                if option.metavar in _NAMING:
                    raise typer.BadParameter(f"it is given {times} times, and counts once", ctx, option)
                warn_line(f"{name} is given {times} times: the last one counts")
        return super().parse_args(ctx, args)


@contextmanager
def saving_at_signals() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP end the verb as Ctrl-C does; its exit status is the signal's."""
    try:
        with ended_as_by_ctrl_c():
            yield
    except Terminated as signalled:
        raise typer.Exit(_SIGNALLED + signalled.number) from signalled
