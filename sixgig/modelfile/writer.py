"""Lays out a new GGUF file: the header from another file's pairs, and where each tensor's bytes go.

Format: the GGUF specification, version 3, little-endian. Pairs that stay are copied byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from struct import pack

from sixgig.modelfile.ggml_types import GgmlType
from sixgig.modelfile.header import padded
from sixgig.modelfile.metadata import NUMBER_FORMATS, Entry, Metadata, ValueType
from sixgig.modelfile.source import read_all

PAGE_BYTES = 4096
_ALIGNMENT_KEY = "general.alignment"
_SPLIT = "split."
_MOST_GENERAL = (ValueType.STRING, ValueType.FLOAT32, ValueType.INT32, ValueType.UINT32, ValueType.BOOL)


@dataclass(frozen=True)
class NewTensor:
    """A tensor to be written; `shape` is ne order, a row a whole number of blocks."""

    name: str
    shape: tuple[int, ...]
    type: GgmlType

    @property
    def size_bytes(self) -> int:
        """Its bytes without padding."""
        return prod(self.shape) // self.type.block_elements * self.type.block_bytes


@dataclass(frozen=True)
class Layout:
    """`header` comes first; tensor i begins at offsets[i]; the file is padded to `size_bytes`."""

    header: bytes
    offsets: tuple[int, ...]
    size_bytes: int


def lay_out(
    metadata: Metadata,
    changes: Mapping[str, object],
    tensors: Sequence[NewTensor],
    alignment: int = PAGE_BYTES,
) -> Layout:
    """The file that holds `tensors` in order, each on a multiple of `alignment`.

    changes: key to new value, None to leave the pair out; a number keeps the type it had. A list becomes an
    array. What told of split files is left out.
    """
    changes = {**changes, _ALIGNMENT_KEY: alignment}
    pairs = _pairs(metadata, changes)
    offsets, end = _offsets(tensors, alignment)
    head = b"GGUF" + pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs)
    head += b"".join(_declaration(tensor, at) for tensor, at in zip(tensors, offsets, strict=True))
    head = head.ljust(padded(len(head), alignment), b"\0")
    return Layout(head, tuple(len(head) + at for at in offsets), len(head) + end)


def _offsets(tensors: Iterable[NewTensor], alignment: int) -> tuple[list[int], int]:
    offsets, at = [], 0
    for tensor in tensors:
        offsets.append(at)
        at = padded(at + tensor.size_bytes, alignment)
    return offsets, at


def _pairs(metadata: Metadata, changes: Mapping[str, object]) -> list[bytes]:
    kept = [entry for entry in metadata.entries if not entry.key.startswith(_SPLIT)]
    pairs = [
        read_all(metadata.source, entry.start, entry.end - entry.start)
        if entry.key not in changes
        else _encoded(entry.key, changes[entry.key], entry)
        for entry in kept
        if changes.get(entry.key, "") is not None
    ]
    known = {entry.key for entry in kept}
    pairs += [
        _encoded(key, value, None) for key, value in changes.items() if key not in known and value is not None
    ]
    return pairs


def _encoded(key: str, value: object, before: Entry | None) -> bytes:
    """One pair; a list becomes an array of what its first element is."""
    named = _string(key)
    if isinstance(value, list | tuple):
        kind = min((_kind(item, None) for item in value), key=_MOST_GENERAL.index)
        items = b"".join(_bare(item, kind) for item in value)
        return named + pack("<IIQ", ValueType.ARRAY, kind, len(value)) + items
    kind = _kind(value, before)
    return named + pack("<I", kind) + _bare(value, kind)


def _kind(value: object, before: Entry | None) -> ValueType:
    if isinstance(value, str):
        return ValueType.STRING
    if isinstance(value, bool):
        return ValueType.BOOL
    if before is not None and before.type in NUMBER_FORMATS and before.type is not ValueType.BOOL:
        return before.type
    if isinstance(value, int):
        return ValueType.UINT32 if value >= 0 else ValueType.INT32
    return ValueType.FLOAT32


def _bare(value: object, kind: ValueType) -> bytes:
    return _string(str(value)) if kind is ValueType.STRING else pack("<" + NUMBER_FORMATS[kind], value)


def _string(text: str) -> bytes:
    raw = text.encode()
    return pack("<Q", len(raw)) + raw


def _declaration(tensor: NewTensor, offset: int) -> bytes:
    shape = pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
    return _string(tensor.name) + shape + pack("<IQ", tensor.type.id, offset)
