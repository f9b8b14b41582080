"""What comes in on stdin where nobody types it: one text, or the lines of a chat.

Bounded, read strictly as text, and waited for aloud: a pipe that its writer never closes is no silent hang.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import threading
from collections.abc import Iterator
from typing import BinaryIO, TextIO

from sixgig.cli.terminal import is_terminal, say, warn_line
from sixgig.errors import UsageError

MOST_BYTES = 16 << 20  # of a text, or of a line: 16 bytes for each token of a context of a million
LATE_S = 2.0


def read_prompt() -> str:
    """All of stdin as the prompt, less the newline that ends it. Raises UsageError."""
    if sys.stdin is None:
        raise UsageError("there is no prompt", "stdin is closed", "pipe a text into it, or give one with -p")
    if is_terminal(sys.stdin):
        say("Type the prompt; Ctrl-D on a line of its own ends it.")
    return _read(sys.stdin, "the prompt is read from stdin until that ends")


def read_beside(prompt: str) -> str:
    """`prompt`, behind what was piped in and an empty line; alone where stdin is a terminal, closed or empty,
    which is told of a pipe or a file. Raises UsageError.
    """
    if sys.stdin is None or is_terminal(sys.stdin):
        return prompt
    piped = _read(sys.stdin, "stdin goes before the prompt and has not ended; < /dev/null goes without it")
    if piped.strip():
        return f"{piped}\n\n{prompt}"
    if not _is_device(sys.stdin):
        warn_line("nothing was piped in: the prompt is answered alone; < /dev/null where that is meant")
    return prompt


def read_lines() -> Iterator[str]:
    """Lines without their ends. Raises UsageError that names the line."""
    if sys.stdin is None:
        raise UsageError("there is nobody to chat with", "stdin is closed", "give a prompt with -p")
    stream, number = _binary(sys.stdin), 0
    while True:
        awaited = "each line of stdin is a turn of the chat; -p - takes it as one prompt"
        with contextlib.nullcontext() if number else _saying_when_late(awaited):
            raw = _bounded(stream, line=True)
        if not raw:
            return
        number += 1
        yield as_text(raw, sys.stdin, f" (line {number})").rstrip("\r\n")


def as_text(raw: bytes, stream: TextIO, where: str = "") -> str:
    """`raw` in the stream's encoding. Raises UsageError that names the first byte which is none."""
    try:
        return raw.decode(stream.encoding or "utf-8")
    except UnicodeDecodeError as error:
        raise not_text(f"stdin{where}", error) from error


def not_text(what: str, error: UnicodeDecodeError) -> UsageError:
    """What to say of bytes that are no text."""
    byte = error.object[error.start]
    name = error.encoding.upper().replace("_", "-")
    return UsageError(
        f"{what} is not {name} text", f"0x{byte:02x} at byte {error.start}", "convert it, with iconv say"
    )


def argument_text(name: str, value: str) -> str:
    """The value of an option that is text. Raises UsageError for bytes that the system could not decode."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        byte = f"0x{ord(value[error.start]) & 0xFF:02x} at character {error.start}"
        raise UsageError(f"{name} is not {sys.getfilesystemencoding()} text", byte, "convert it") from error
    return value


def _is_device(stream: TextIO) -> bool:
    """/dev/null, for one: what is known to give nothing."""
    try:
        return stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def _read(stream: TextIO, awaited: str) -> str:
    with _saying_when_late(awaited):
        raw = _bounded(_binary(stream), line=False)
    return as_text(raw, stream).removesuffix("\n").removesuffix("\r")


def _binary(stream: TextIO) -> BinaryIO:
    """Its bytes, waited for: a parent may have left the descriptor non-blocking."""
    with contextlib.suppress(OSError, ValueError):
        os.set_blocking(stream.fileno(), True)
    return stream.buffer


def _bounded(stream: BinaryIO, line: bool) -> bytes:
    """A line, or all there is."""
    most = MOST_BYTES + 1
    try:
        raw = stream.readline(most) if line else stream.read(most)
    except (OSError, ValueError) as error:
        raise UsageError("stdin cannot be read", str(error), "pipe a text into it, or < /dev/null") from error
    if len(raw) == most:
        what = "a line of stdin" if line else "stdin"
        raise UsageError(f"{what} is longer than any context", f"more than {MOST_BYTES >> 20} MiB", "cut it")
    return raw


@contextlib.contextmanager
def _saying_when_late(awaited: str) -> Iterator[None]:
    """Say what is awaited once it takes longer than LATE_S, unless someone types it."""
    timer = threading.Timer(LATE_S, say, [f"waiting: {awaited}"])
    timer.daemon = True
    if not is_terminal(sys.stdin):
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
