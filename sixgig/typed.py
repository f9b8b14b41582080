"""Values that callers hand in: of the types a dataclass's annotations say, made plain, and within bounds.

numpy's integers become Python's: sizes are multiplied, and numpy's wrap around in 32 bits or fewer.
"""

from __future__ import annotations

import errno
import os
import reprlib
from collections.abc import Sequence
from dataclasses import Field, fields
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from sixgig.errors import UsageError
from sixgig.units import format_number

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_NEEDED = {
    int: "a whole number is needed",
    float: "a number is needed",
    bool: "True or False is needed",
    str: "a text is needed",
    Path: "a path is needed, as text or Path",
}
_BYTES = "sizes are bytes: 6 << 30 is 6 GiB"
MOST_COUNT = 2**31 - 1  # of tokens, steps, windows: the engine counts in 32 bits
MOST_BYTES = 2**63 - 1


def settle(values: DataclassInstance, option: str = "--") -> None:
    """Refuse, with UsageError, what is not of its field's type, and make numbers Python's own.

    option: what fields are called by, before their names.
    """
    for field, kinds in _kinds(type(values)):
        value = getattr(values, field.name)
        plain = _plain(value, kinds, option + field.name.replace("_", "-"))
        if plain is not value:
            object.__setattr__(values, field.name, plain)


def require(name: str, value: object, *kinds: type) -> None:
    """UsageError for a value that is of none of these kinds."""
    _plain(value, kinds, name)


def at_least(lowest: int, name: str, value: int | None, most: int = MOST_COUNT) -> None:
    """UsageError for a number that is too small or too large; None is the default, and no number."""
    if value is not None and value < lowest:
        raise UsageError(f"{name} of {value} is not possible", f"at least {lowest}")
    if value is not None and value > most:
        raise UsageError(f"{name} of {format_number(value)} is not possible", f"at most {most}")


def within(name: str, value: float | None, low: float, high: float) -> None:
    """UsageError for a number outside, or that is none; None is the default."""
    if value is not None and not low <= value <= high:  # NaN included
        raise UsageError(f"{name} of {format_number(value)} is not possible", f"from {low} to {high}")


def shown(value: object) -> str:
    """`value` in a few characters of ASCII."""
    return " ".join(reprlib.repr(value).split()).encode("ascii", "backslashreplace").decode()


@cache
def _kinds(kind: type[DataclassInstance]) -> tuple[tuple[Field[Any], tuple[Any, ...]], ...]:
    """Of each field that can be checked the types it may have."""
    hints = get_type_hints(kind)
    return tuple((field, _members(hints[field.name])) for field in fields(kind))


def _members(hint: Any) -> tuple[Any, ...]:
    union = get_origin(hint) in (Union, UnionType)
    return tuple(_member(one) for one in (get_args(hint) if union else (hint,)))


def _member(hint: Any) -> Any:
    """A class; a Literal is of its values', of which its own dataclass knows."""
    return type(get_args(hint)[0]) if get_origin(hint) is Literal else get_origin(hint) or hint


def _plain(value: Any, kinds: tuple[Any, ...], name: str) -> Any:
    if any(_fits(value, kind) for kind in kinds):
        if Path in kinds and isinstance(value, str | Path):
            _require_possible(value, name)
        return value
    if hasattr(value, "dtype") and getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # of numpy
    if int in kinds and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if float in kinds and isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    if any(_fits(value, kind) for kind in kinds):
        return value
    if tuple in kinds and isinstance(value, list):
        return tuple(value)
    if Path in kinds and isinstance(value, os.PathLike) and isinstance(path := os.fspath(value), str):
        return _plain(Path(path), kinds, name)
    raise _refused(name, value, kinds)


def _require_possible(path: str | Path, name: str) -> None:
    """UsageError for what the system takes for no path, whatever is there."""
    try:
        os.lstat(path)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            why = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"{name} of {shown(os.fspath(path))} is not possible", why) from error


def _fits(value: object, kind: Any) -> bool:
    if kind in (int, float):
        return type(value) in (int, kind)
    return isinstance(value, kind) and not (kind is Sequence and isinstance(value, str | bytes))


def _refused(name: str, value: object, kinds: tuple[Any, ...]) -> UsageError:
    kind = next((kind for kind in _NEEDED if kind in kinds and (kind is not str or Path not in kinds)), None)
    needed = _NEEDED[kind] if kind else f"{' or '.join(one.__name__ for one in kinds)} is needed"
    return UsageError(f"{name} of {shown(value)} is not possible", needed, _BYTES if kind is int else "")
