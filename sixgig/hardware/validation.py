"""JSON from outside, checked field by field against the dataclasses of `machine`."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from typing import Any, TypeVar

from sixgig.errors import UsageError
from sixgig.hardware import machine as vocabulary
from sixgig.hardware.conditions import Conditions
from sixgig.hardware.machine import Absent, Disk, Gpu, Kernels, KernelSpeed, Machine, Memory, Meter, ReadRate

_Kind = TypeVar("_Kind")
_KINDS = (
    Absent,
    Conditions,
    vocabulary.Cpu,
    Memory,
    ReadRate,
    Disk,
    Gpu,
    Meter,
    KernelSpeed,
    Kernels,
    Machine,
)
_FIELDS = {field.name for kind in _KINDS for field in dataclasses.fields(kind)}
_MAY_BE_ZERO = re.compile(r"(available|free|swap)_bytes|repacked_\w+|(step|row)_s|others|held_back|traffic")
_LONGEST_TEXT, _LONGEST_LIST = 1000, 256
_LARGEST = 2**63 - 1
CURE = "mend the file, or write a new one with sixgig doctor --save FILE"


def parse_json(text: str | bytes) -> Any:
    """JSON without repeated names, NaN or half characters. Raises ValueError that says what is wrong."""
    try:
        document = json.loads(text, object_pairs_hook=_named_once, parse_constant=_no_constant)
        json.dumps(document, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("half of a character (a lone surrogate)") from error
    return document


def validated(kind: type[_Kind], value: Any, source: str) -> _Kind:
    """`value` as a `kind`: every field there, of its type, none besides, and sensible.

    Raises UsageError that names `source`, the field, its value and the cure.
    """
    from pydantic import ValidationError

    try:
        result: _Kind = _adapter(kind).validate_json(json.dumps(value))
    except ValidationError as error:
        raise _complaint(error, source) from error
    for place, fault, found in _faults(result):
        raise UsageError(f"{source}: {place} {fault}", f"found {_shown(found)}", CURE)
    return result


def _adapter(kind: type[_Kind]) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    parts: tuple[Any, ...] = _KINDS
    for part in parts:
        part.__pydantic_config__ = strict  # where pydantic looks for the rules of a dataclass
    return TypeAdapter(kind)


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            raise ValueError(f"{name[:60]!r} is there twice")
        names.add(name)
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _complaint(error: Any, source: str) -> UsageError:
    """The one complaint that helps most: of the two readings of a value or its absence, the one meant."""
    faults = error.errors(include_url=False)
    absences = [fault for fault in faults if "Absent" in fault["loc"] and fault["type"] == "string_type"]
    values = [fault for fault in faults if "Absent" not in fault["loc"]]
    fault = (absences or values or faults)[0]
    found = "" if fault["type"] == "missing" else f"found {_shown(fault['input'])}"
    message = fault["msg"][:1].lower() + fault["msg"][1:]
    place = _place(fault["loc"], foreign=fault["type"] == "unexpected_keyword_argument")
    return UsageError(f"{source}: {place}: {message}", found, CURE)


def _place(location: tuple[int | str, ...], foreign: bool) -> str:
    """As in gpus[0].memory_bytes; pydantic's path has union members, too. foreign: its end is no field."""
    text = ""
    for index, step in enumerate(location):
        if isinstance(step, int):
            text += f"[{step}]"
        elif step in _FIELDS or (foreign and index == len(location) - 1):
            text += f".{step[:60]}"
    return text.removeprefix(".") or "the document"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_Fault = tuple[str, str, Any]  # where, what is wrong, what stands there


def _faults(value: Any, place: str = "") -> Iterator[_Fault]:
    """Everything that types alone do not rule out."""
    if isinstance(value, tuple):
        yield from _list_faults(value, place)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _faults(getattr(value, field.name), f"{place}.{field.name}".removeprefix("."))
        yield from _contradictions(value, place)
    elif isinstance(value, str):
        yield from _text_faults(value, place)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number_faults(value, place)


def _list_faults(values: tuple[Any, ...], place: str) -> Iterator[_Fault]:
    if len(values) > _LONGEST_LIST:
        yield place, f"has more than {_LONGEST_LIST} entries", len(values)
    for index, item in enumerate(values):
        yield from _faults(item, f"{place}[{index}]")


def _text_faults(text: str, place: str) -> Iterator[_Fault]:
    if not 0 < len(text) <= _LONGEST_TEXT:
        yield place, f"must have 1 to {_LONGEST_TEXT} characters", text
    if not text.isprintable():
        yield place, "has control characters", text


def _number_faults(number: float, place: str) -> Iterator[_Fault]:
    lowest = 0 if _MAY_BE_ZERO.fullmatch(place.rpartition(".")[2]) else math.ulp(0.0)
    if not lowest <= number <= _LARGEST:  # false for what is no number, too
        yield place, f"must be {'0 or more' if lowest == 0 else 'above 0'} and below 2**63", number


def _contradictions(value: Any, place: str) -> Iterator[_Fault]:
    """Fields that exclude each other."""
    within = f"{place}." if place else ""
    if isinstance(value, Memory) and value.available_bytes > value.ram_bytes:
        yield f"{within}available_bytes", "is more than ram_bytes", value.available_bytes
    if isinstance(value, Gpu) and value.free_bytes > value.memory_bytes:
        yield f"{within}free_bytes", "is more than memory_bytes", value.free_bytes
    if isinstance(value, vocabulary.Cpu) and value.cores > value.logical_cores:
        yield f"{within}cores", "is more than logical_cores", value.cores
    if isinstance(value, Disk) and not isinstance(value.reads, Absent):
        yield from _rate_faults(value.reads, f"{within}reads")
    if isinstance(value, Kernels) and len({speed.type for speed in value.speeds}) < len(value.speeds):
        yield f"{within}speeds", "names a type twice", len(value.speeds)


def _rate_faults(rates: tuple[ReadRate, ...], place: str) -> Iterator[_Fault]:
    blocks = [rate.block_bytes for rate in rates]
    if not blocks:
        yield place, "is empty: an absent one has a reason", rates
    elif blocks != sorted(set(blocks)):
        yield place, "must go from the smallest block to the largest, each once", blocks
