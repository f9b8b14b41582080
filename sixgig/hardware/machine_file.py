"""A machine as a JSON file, and the machines that come with the package."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from sixgig.atomic import replace_file
from sixgig.errors import UsageError
from sixgig.hardware.machine import Machine
from sixgig.hardware.validation import CURE, parse_json, validated

FORMAT = "sixgig machine 1"
_LARGEST_FILE = 1 << 20


def machine_document(machine: Machine) -> dict[str, Any]:
    """What a machine file holds: the format's name, then the fields of `Machine`; an absence is a reason."""
    return {"format": FORMAT, **asdict(machine)}


def save_machine(machine: Machine, path: Path | str) -> None:
    """Writes the file whole or not at all. Raises UsageError where it cannot be written."""
    text = json.dumps(machine_document(machine), indent=2, ensure_ascii=False, allow_nan=False)
    try:
        replace_file(Path(path), text + "\n")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {path}", _why(error), "name another file") from error


def load_machine(path_or_profile_name: Path | str) -> Machine:
    """The machine in a file, or, where there is no such file, the profile of that name.

    Raises UsageError: neither; no plain file; over 1 MiB; not JSON; a field missing, unknown or not sensible.
    """
    name, path = str(path_or_profile_name), Path(path_or_profile_name)
    if name in profiles() and not _is_there(path):
        return _machine(_profile_path(name).read_bytes(), name)
    return _machine(_content(path, name), name)


def profiles() -> list[str]:
    """Names of the machines that come with the package."""
    return sorted(path.stem for path in _profile_path("").parent.glob("*.json"))


def _profile_path(name: str) -> Path:
    return Path(str(resources.files("sixgig.hardware") / "profiles" / f"{name}.json"))


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except ValueError:
        return False


def _content(path: Path, name: str) -> bytes:
    """The bytes of a plain file of modest size; a pipe or a device is refused without waiting for it."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        known = f"the profiles are {', '.join(profiles())}"
        if isinstance(error, FileNotFoundError):
            raise UsageError(f"there is no profile or file {name!r}", cure=f"name a file; {known}") from error
        raise UsageError(
            f"cannot read a machine from {name!r}", _why(error), f"name a file; {known}"
        ) from error
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise UsageError(f"{name!r} is no plain file", cure=CURE)
        with os.fdopen(handle, "rb", closefd=False) as file:
            content = file.read(_LARGEST_FILE + 1)
    finally:
        os.close(handle)
    if len(content) > _LARGEST_FILE:
        raise UsageError(f"{name!r} is too large for a machine", f"more than {_LARGEST_FILE} bytes", CURE)
    return content


def _machine(content: bytes, source: str) -> Machine:
    try:
        document = parse_json(content.decode("utf-8"))
    except ValueError as error:
        raise UsageError(f"{source} is not JSON", str(error)[:100], CURE) from error
    found = document.pop("format", None) if isinstance(document, dict) else None
    if found != FORMAT:
        raise UsageError(
            f"{source} is no machine file", f"its format is {str(found)[:60]!r}, not {FORMAT!r}", CURE
        )
    return validated(Machine, document, source)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
