"""Text on its way to a person: what models and files say must not drive the terminal."""

import os
import re
import sys
from enum import IntEnum
from types import TracebackType
from typing import Self, TextIO

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """`text` without control characters other than tab and newline; each becomes U+FFFD."""
    return _CONTROL.sub("\ufffd", text)


def escaped(text: str) -> str:
    """A name in one line that moves no cursor: what is not printable as Python writes it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in as_text(text))


def as_text(name: str) -> str:
    """A file's name that this locale could not decode, as the UTF-8 that it is; any other as it stands."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return name


class Verbosity(IntEnum):
    """How much is said beside the answer."""

    QUIET = 0
    USUAL = 1
    VERBOSE = 2


class _Voice:
    """What this command was told: one for the process, as stderr is."""

    verbosity = Verbosity.USUAL


def choose_verbosity(verbosity: Verbosity) -> None:
    """For all that is said from now on; downloads of the hub heed QUIET too."""
    _Voice.verbosity = verbosity
    if verbosity == Verbosity.QUIET:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def is_quiet() -> bool:
    """Whether nothing but warnings and errors is to be said, and no progress is to be shown."""
    return _Voice.verbosity == Verbosity.QUIET


def say(text: str = "", end: str = "\n") -> None:
    """For people: to stderr, unless --quiet."""
    if not is_quiet():
        warn(text, end)


def say_plan(text: str) -> None:
    """The first line as say(); the others with --verbose alone."""
    head, newline, rest = text.partition("\n")
    say(head + newline + rest if _Voice.verbosity == Verbosity.VERBOSE else head)


def warn(text: str = "", end: str = "\n") -> None:
    """To stderr, --quiet or not: a warning, an error, or what the answer is of no use without. Nowhere once
    that takes no more (a full disk, a reader that left): no work is lost for words that nobody gets.
    """
    _to_stderr(harmless(text) + end)


def _to_stderr(text: str) -> None:
    try:
        print(text, end="", file=sys.stderr, flush=True)
    except OSError:
        abandon(sys.stderr)


def warn_line(text: str) -> None:
    """As warn(), in one line, whatever names and reasons it quotes."""
    warn(" ".join(text.split()))


def write(text: str) -> None:
    """A piece of the answer, to stdout at once; as it is into a pipe, harmless on a terminal."""
    print(harmless(text) if is_terminal(sys.stdout) else text, end="", flush=True)


class Thinking:
    """What a model thinks, to stderr, dimmed on a terminal: never mixed with the answer. A context
    manager."""

    def __init__(self, shown: bool) -> None:
        self._shown, self._open = shown and not is_quiet(), False
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
    """Text is UTF-8 in pipes and files whatever the locale, unless PYTHONIOENCODING names another encoding.

    What a terminal's or that encoding lacks is written as \\u20ac, and ends nothing.
    """
    for stream in (sys.stdout, sys.stderr):
        if not hasattr(stream, "reconfigure"):
            continue
        if os.environ.get("PYTHONIOENCODING") or is_terminal(stream):
            stream.reconfigure(errors="backslashreplace")
        else:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


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
