"""Text on its way to a person: what models and files say must not drive the terminal."""

import os
import re
import sys
from types import TracebackType
from typing import Self, TextIO

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """`text` without control characters other than tab and newline; each becomes U+FFFD."""
    return _CONTROL.sub("\ufffd", text)


def escaped(text: str) -> str:
    """A name in one line that moves no cursor: what is not printable as Python writes it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(text: str = "", end: str = "\n") -> None:
    """For people: to stderr; nowhere once that takes no more (a full disk, a reader that left)."""
    _to_stderr(harmless(text) + end)


def _to_stderr(text: str) -> None:
    """No work is lost for words that nobody gets."""
    try:
        print(text, end="", file=sys.stderr, flush=True)
    except OSError:
        abandon(sys.stderr)


def say_line(text: str) -> None:
    """As say(), in one line, whatever names and reasons it quotes."""
    say(" ".join(text.split()))


def write(text: str) -> None:
    """A piece of the answer, to stdout at once; as it is into a pipe, harmless on a terminal."""
    print(harmless(text) if is_terminal(sys.stdout) else text, end="", flush=True)


class Thinking:
    """What a model thinks, to stderr, dimmed on a terminal: never mixed with the answer. A context
    manager."""

    def __init__(self, shown: bool) -> None:
        self._shown, self._open = shown, False
        self._begin, self._end = ("\x1b[2m", "\x1b[22m") if is_terminal(sys.stderr) else ("", "")

    def __call__(self, piece: str) -> None:
        """A piece of it, at once."""
        if not self._shown:
            return
        _to_stderr(("" if self._open else self._begin) + harmless(piece))
        self._open = True

    def end(self) -> None:
        """The answer follows, on a line of its own; safe to call twice."""
        if self._open:
            _to_stderr(self._end + "\n")
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.end()


def is_terminal(stream: TextIO | None) -> bool:
    """Does a person look at, or type into, this stream?"""
    return stream is not None and not stream.closed and stream.isatty()


def let_text_pass() -> None:
    """Characters that the output's encoding lacks become "?" and end nothing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def open_closed_streams() -> None:
    """What the caller closed of 0, 1 and 2 leads nowhere, so that no file opened later gets such a number,
    and with it what libraries write there. sys.stdin stays None where it was closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def abandon(stream: TextIO) -> None:
    """Nobody reads this stream any more: what is still buffered goes nowhere, quietly."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
