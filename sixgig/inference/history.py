"""The record of past runs: what was predicted and what was measured, one JSON line for each.

Kept under the user's data folder; never leaves the machine. A line that cannot be read, torn by a crash or
from another version, is passed over. Holds no text, no token and no prompt.
"""

import json
import os
from dataclasses import asdict, fields
from math import isfinite
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from sixgig.atomic import replace_file
from sixgig.planning import Record

MOST_BYTES = 1 << 20  # a few thousand runs; then the older half goes
_NAME = "runs.jsonl"
_OPTIONAL = ("hit_rate", "joules_per_token")


def history_path() -> Path:
    """The file."""
    return user_data_path("sixgig") / _NAME


def remember_run(record: Record, path: Path | None = None) -> None:
    """Append one line. Where the folder cannot be written nothing happens: no run fails for that."""
    path = path or history_path()
    line = json.dumps(asdict(record)) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _shorten(path)
        with path.open("ab", buffering=0) as file:
            file.write(_separated(path) + line.encode())  # one write: lines of several processes stay whole
    except OSError:
        return


def past_runs(path: Path | None = None) -> tuple[Record, ...]:
    """All records, oldest first; none where there is no file, or one that cannot be read."""
    try:
        lines = (path or history_path()).read_bytes()[-2 * MOST_BYTES :].splitlines()
    except OSError:
        return ()
    return tuple(record for line in lines if (record := _record(line)) is not None)


def _separated(path: Path) -> bytes:
    """A newline first where the last line was torn."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return b""
        file.seek(-1, os.SEEK_END)
        return b"" if file.read(1) == b"\n" else b"\n"


def _shorten(path: Path) -> None:
    """Keep the newer half of a file that has grown too long."""
    path.touch()
    if path.stat().st_size < MOST_BYTES:
        return
    lines = path.read_bytes().splitlines(keepends=True)
    replace_file(path, b"".join(lines[len(lines) // 2 :]))


def _record(line: bytes) -> Record | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or set(values) != {field.name for field in fields(Record)}:
        return None
    return Record(**values) if all(_fits(name, value) for name, value in values.items()) else None


def _fits(name: str, value: Any) -> bool:
    """Whether a value is of the field's kind: text, or a number that is finite and not negative."""
    kind = {field.name: field.type for field in fields(Record)}[name]
    if name in _OPTIONAL and value is None:
        return True
    if kind in ("str", "Mode"):
        return isinstance(value, str)
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0
