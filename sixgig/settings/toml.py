"""A TOML file of modest size, read."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from sixgig.errors import UsageError

_LARGEST_BYTES = 1 << 20


def read_toml(path: Path) -> dict[str, Any]:
    """What the file holds. Raises UsageError: no plain file, over 1 MiB, not UTF-8, not TOML (says where)."""
    try:
        text = _content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        what = f"{path.name} is not in UTF-8"
        raise UsageError(what, f"line {line} has the byte 0x{error.object[error.start]:02x}") from error
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise UsageError(f"{path.name} is nested too deeply", cure="mend the file") from error
    except ValueError as error:
        raise UsageError(f"{path.name} is not TOML", _told(error, text), "mend the file") from error


def _content(path: Path) -> bytes:
    """A pipe or a device is refused without waiting for it."""
    try:
        if not path.is_file():
            absent = None if path.exists() else FileNotFoundError(path)
            what = "is no plain file" if absent is None else "does not exist"
            raise UsageError(f"{str(path)!r} {what}", cure="name a configuration file") from absent
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read {str(path)!r}", why, "name a configuration file") from error
    if len(content) > _LARGEST_BYTES:
        numbers = f"more than {_LARGEST_BYTES} bytes"
        raise UsageError(f"{path.name} is too large for a configuration", numbers, "name another file")
    return content


def _told(error: ValueError, text: str) -> str:
    """One line with the place, which tomllib does not number at the end of a file."""
    if not isinstance(error, tomllib.TOMLDecodeError):
        return "a number has too many digits"
    words = re.sub(
        r"\s*\(at end of document\)$", f" (at the end, line {text.count(chr(10)) + 1})", str(error)
    )
    words = words[:1].lower() + words[1:]
    return ascii(words)[1:-1][:200] if not words.isprintable() else words[:200]
