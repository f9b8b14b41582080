"""Reads safetensors headers: which tensors there are, how they are stored, where their bytes lie.

Format: eight bytes little-endian with the header's size, that much JSON, then the data without holes.
Nothing in a header is believed before it is checked; the limits are ours.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from sixgig.errors import ModelFileError

MAX_HEADER_BYTES = 100_000_000  # the reference implementation's own limit
MAX_DIMENSIONS = 8
ELEMENT_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """One tensor in a file; `shape` has the slowest dimension first, `offset` is absolute in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    offset: int
    size_bytes: int


def read_stored(path: Path) -> tuple[Stored, ...]:
    """The checked tensors of one file in the order of their bytes; ModelFileError says what is wrong."""
    header, data_start, size_bytes = _header(path)
    tensors = [_stored(path, name, entry, data_start) for name, entry in header.items()]
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.size_bytes))
    _check_layout(path, tensors, data_start, size_bytes)
    return tuple(tensors)


def damaged(path: Path, what: str, numbers: str = "") -> ModelFileError:
    """The error for a file that cannot be right."""
    return ModelFileError(f"{path.name}: {what}", numbers, "fetch the file again")


def read_json(path: Path, limit_bytes: int = MAX_HEADER_BYTES) -> dict[str, Any]:
    """The JSON object in a file; ModelFileError for anything else, and where a name appears twice."""
    try:
        if (size_bytes := path.stat().st_size) > limit_bytes:
            raise damaged(path, "it is too large", f"{size_bytes} bytes, at most {limit_bytes}")
        raw = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"cannot read {path}", error.strerror or str(error)) from error
    return parse_object(path, raw)


def parse_object(path: Path, raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`, which comes from `path`; ModelFileError for anything else."""
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise damaged(path, "its JSON is damaged", str(error)[:120]) from error
    if not isinstance(value, dict):
        raise damaged(path, "its JSON is no object")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:80]!r} appears twice")
    return values


def _header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The entries, where the data begins, and the file's size."""
    try:
        with path.open("rb") as file:
            size_bytes = path.stat().st_size
            raw_size = int.from_bytes(file.read(8), "little")
            if size_bytes < 8 or raw_size > min(MAX_HEADER_BYTES, size_bytes - 8):
                numbers = f"header of {raw_size} bytes, the file has {size_bytes}"
                raise damaged(path, "it is cut short or no safetensors file", numbers)
            raw = file.read(raw_size)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}", error.strerror or str(error)) from error
    header = parse_object(path, raw)
    header.pop("__metadata__", None)
    return header, 8 + raw_size, size_bytes


def _stored(path: Path, name: str, entry: Any, data_start: int) -> Stored:
    kind = entry.get("dtype") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or kind not in ELEMENT_BYTES:
        raise damaged(path, f"{name[:80]!r} has a type we do not know", str(kind)[:40])
    shape, offsets = _counts(path, name, entry, "shape"), _counts(path, name, entry, "data_offsets")
    if len(shape) > MAX_DIMENSIONS or len(offsets) != 2:
        raise damaged(path, f"{name[:80]!r} has a damaged entry", f"{len(shape)} dimensions")
    size_bytes = math.prod(shape) * ELEMENT_BYTES[kind]
    if offsets[1] - offsets[0] != size_bytes:
        numbers = f"{offsets[1] - offsets[0]} bytes for {size_bytes}"
        raise damaged(path, f"{name[:80]!r} has another size than its shape", numbers)
    return Stored(name, kind, shape, path, data_start + offsets[0], size_bytes)


def _counts(path: Path, name: str, entry: dict[str, Any], key: str) -> tuple[int, ...]:
    values = entry.get(key)
    if not isinstance(values, list) or not all(type(value) is int and 0 <= value < 2**63 for value in values):
        raise damaged(path, f"{name[:80]!r} has a damaged {key}", str(values)[:80])
    return tuple(values)


def _check_layout(path: Path, tensors: list[Stored], data_start: int, size_bytes: int) -> None:
    """The tensors must follow one another from the first byte of the data to the last."""
    ends = [data_start, *(tensor.offset + tensor.size_bytes for tensor in tensors)]
    for tensor, end in zip(tensors, ends, strict=False):
        if tensor.offset != end:
            kind = "overlaps the one before" if tensor.offset < end else "leaves a hole before it"
            raise damaged(path, f"{tensor.name[:80]!r} {kind}", f"byte {tensor.offset}, not {end}")
    if ends[-1] != size_bytes:
        raise damaged(path, "its tensors do not fill it", f"{ends[-1]} bytes announced, {size_bytes} there")


def first_repeated(names: Iterable[str]) -> str | None:
    """A name that stands more than once, if any."""
    ordered = sorted(names)
    return next((one for one, other in pairwise(ordered) if one == other), None)
