"""Reads and checks the header of one GGUF file: nothing in it is believed before it is checked.

Format: the GGUF specification, versions 2 and 3, little-endian. The limits below are ours.
"""

from dataclasses import dataclass
from struct import unpack

from sixgig.errors import ModelFileError
from sixgig.modelfile.cursor import Cursor
from sixgig.modelfile.ggml_types import TYPE_BY_ID, GgmlType
from sixgig.modelfile.known import KnownArrays
from sixgig.modelfile.metadata import NUMBER_BYTES, NUMBER_FORMATS, Entry, Metadata, Scalar, Stored, ValueType
from sixgig.modelfile.source import ByteSource

MAX_NAME_BYTES = 63  # ggml's own limit
MAX_DIMENSIONS = 4
MAX_KEY_BYTES = 65535
MAX_ENTRIES = 65536
MAX_TENSORS = 2**18
MAX_STRINGS = 2**22
_SHORT_BYTES = 4096
_SMALLEST_ENTRY_BYTES = 14
_SMALLEST_TENSOR_BYTES = 33


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as its part declares it; `offset` is absolute in the file, shape is ne order (ne0 first)."""

    name: str
    shape: tuple[int, ...]
    type: GgmlType
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class Header:
    """One file's header; the pairs take [24, entries_end) and the data starts at `data_start`."""

    source: ByteSource
    version: int
    metadata: Metadata
    alignment: int
    tensors: tuple[TensorInfo, ...]
    data_start: int


def read_header(source: ByteSource, known: KnownArrays | None = None) -> Header:
    """The checked header of a GGUF file; ModelFileError says what is wrong with it.

    `known` has what files of the same repository taught, and learns from this one; for planning only.
    """
    cursor, known = Cursor(source), known or KnownArrays()
    version, n_tensors, n_entries = _preamble(cursor)
    metadata = _metadata(cursor, n_entries, known)
    alignment = _alignment(cursor, metadata)
    declared = _declarations(cursor, n_tensors)
    data_start = padded(cursor.position, alignment)
    tensors = _laid_out(cursor, declared, data_start, alignment)
    known.learn(metadata)
    return Header(source, version, metadata, alignment, tensors, data_start)


def padded(size: int, alignment: int) -> int:
    """`size` rounded up to a multiple of `alignment`."""
    return -(-size // alignment) * alignment


def _preamble(cursor: Cursor) -> tuple[int, int, int]:
    """Version, number of tensors, number of pairs."""
    if cursor.size_bytes == 0:
        raise cursor.damaged("the file is empty")
    if (magic := cursor.take(min(4, cursor.size_bytes), "the magic")) != b"GGUF":
        raise ModelFileError(
            f"{cursor.source.name} is not a GGUF file", f"it starts with {magic!r}", "name a .gguf file"
        )
    version = cursor.u32("the version")
    if version not in (2, 3):
        raise ModelFileError(
            f"{cursor.source.name}: GGUF version {version} is not supported",
            "2 and 3 are, little-endian",
            "convert the model again",
        )
    n_tensors, n_entries = cursor.u64("the number of tensors"), cursor.u64("the number of pairs")
    _check_count(cursor, "tensors", n_tensors, MAX_TENSORS, _SMALLEST_TENSOR_BYTES)
    _check_count(cursor, "key-value pairs", n_entries, MAX_ENTRIES, _SMALLEST_ENTRY_BYTES)
    return version, n_tensors, n_entries


def _check_count(cursor: Cursor, what: str, count: int, limit: int, smallest_bytes: int) -> None:
    """Refuses a count that exceeds the limit or that the rest of the file cannot hold."""
    if count > limit:
        raise cursor.damaged(f"too many {what}", f"{count}, at most {limit}")
    if count * smallest_bytes > cursor.remaining_bytes:
        raise cursor.damaged(
            f"the file is too short for its {what}", f"{count}, {cursor.remaining_bytes} bytes left"
        )


def _metadata(cursor: Cursor, n_entries: int, known: KnownArrays) -> Metadata:
    entries: dict[str, Entry] = {}
    for _ in range(n_entries):
        entry = _entry(cursor, known)
        if entry.key in entries:
            raise cursor.damaged(f"the key {entry.key[:80]!r} appears twice")
        entries[entry.key] = entry
    return Metadata(cursor.source, tuple(entries.values()))


def _entry(cursor: Cursor, known: KnownArrays) -> Entry:
    start = cursor.position
    key = cursor.name(MAX_KEY_BYTES, "a key")
    kind = _value_type(cursor, key)
    value = _array(cursor, key, known) if kind is ValueType.ARRAY else _single(cursor, key, kind)
    return Entry(key, kind, value, start, cursor.position)


def _value_type(cursor: Cursor, key: str) -> ValueType:
    number = cursor.u32(f"the type of {key[:80]!r}")
    if number > max(ValueType):
        raise cursor.damaged(f"{key[:80]!r} has an unknown type", str(number))
    return ValueType(number)


def _single(cursor: Cursor, key: str, kind: ValueType) -> Scalar | Stored:
    if kind is ValueType.STRING:
        return _string(cursor, key)
    raw = cursor.take(NUMBER_BYTES[kind], f"the value of {key[:80]!r}")
    value: Scalar = unpack("<" + NUMBER_FORMATS[kind], raw)[0]
    return value


def _string(cursor: Cursor, key: str) -> str | Stored:
    """A short string, or where a long one lies."""
    what = f"the value of {key[:80]!r}"
    size = cursor.u64(what)
    if size <= _SHORT_BYTES:
        return cursor.take(size, what).decode(errors="replace")
    stored = Stored(ValueType.STRING, 1, cursor.position, size, is_array=False)
    cursor.skip(size, what)
    return stored


def _array(cursor: Cursor, key: str, known: KnownArrays) -> Stored:
    kind = _value_type(cursor, key)
    what = f"the array {key[:80]!r}"
    count = cursor.u64(what)
    start = cursor.position
    if kind is ValueType.ARRAY:
        raise cursor.damaged(f"{what} holds arrays", "llama.cpp reads no nested arrays")
    if kind is ValueType.STRING:
        _check_count(cursor, f"strings in {what}", count, MAX_STRINGS, 8)
        if not known.pass_over(cursor, key, count):
            cursor.skip_strings(count, what)
    else:
        cursor.skip(count * NUMBER_BYTES[kind], what)
    return Stored(kind, count, start, cursor.position - start, is_array=True)


def _alignment(cursor: Cursor, metadata: Metadata) -> int:
    """general.alignment, 32 by default."""
    entry = next((entry for entry in metadata.entries if entry.key == "general.alignment"), None)
    if entry is None:
        return 32
    value = entry.value
    if entry.type is not ValueType.UINT32 or not isinstance(value, int):
        raise cursor.damaged("general.alignment must be a UINT32", f"it is {entry.type.name}")
    if value.bit_count() != 1:
        raise cursor.damaged("general.alignment must be a power of two", f"it is {value}")
    return value


def _declarations(cursor: Cursor, n_tensors: int) -> list[TensorInfo]:
    """The tensors as declared, their offsets still relative to the data."""
    infos: dict[str, TensorInfo] = {}
    for _ in range(n_tensors):
        info = _declaration(cursor)
        if info.name in infos:
            raise cursor.damaged(f"the tensor {info.name!r} appears twice")
        infos[info.name] = info
    return list(infos.values())


def _declaration(cursor: Cursor) -> TensorInfo:
    name = cursor.name(MAX_NAME_BYTES, "a tensor name")
    shape = _shape(cursor, name)
    kind = _ggml_type(cursor, name)
    if shape[0] % kind.block_elements:
        raise cursor.damaged(
            f"{name}: a row is no whole number of {kind.name} blocks",
            f"{shape[0]} / {kind.block_elements} elements",
        )
    n_blocks = shape[0] // kind.block_elements
    for extent in shape[1:]:
        n_blocks *= extent
    offset = cursor.u64(f"the offset of {name}")
    return TensorInfo(name, shape, kind, offset, n_blocks * kind.block_bytes)


def _shape(cursor: Cursor, name: str) -> tuple[int, ...]:
    n_dimensions = cursor.u32(f"the shape of {name}")
    if not 1 <= n_dimensions <= MAX_DIMENSIONS:
        raise cursor.damaged(f"{name} has {n_dimensions} dimensions", f"1 to {MAX_DIMENSIONS} allowed")
    shape = tuple(cursor.u64(f"the shape of {name}") for _ in range(n_dimensions))
    if not all(0 < extent < 2**63 for extent in shape):
        raise cursor.damaged(f"{name} has a dimension out of range", f"{shape}")
    return shape


def _ggml_type(cursor: Cursor, name: str) -> GgmlType:
    number = cursor.u32(f"the type of {name}")
    if number not in TYPE_BY_ID:
        raise cursor.damaged(f"{name} has an unknown or retired type", f"{number}")
    return TYPE_BY_ID[number]


def _laid_out(
    cursor: Cursor, declared: list[TensorInfo], data_start: int, alignment: int
) -> tuple[TensorInfo, ...]:
    """The tensors with absolute offsets, which must follow each other in order, padded, inside the file."""
    expected, placed = 0, []
    for info in declared:
        if info.offset != expected:
            raise cursor.damaged(
                f"{info.name} is not where it must be", f"offset {info.offset}, not {expected}"
            )
        start = data_start + info.offset
        if start + info.size_bytes > cursor.size_bytes:
            needed = f"it ends at byte {start + info.size_bytes}"
            raise cursor.damaged(
                f"{info.name} reaches past the end", f"{needed}, the file at {cursor.size_bytes}"
            )
        placed.append(TensorInfo(info.name, info.shape, info.type, start, info.size_bytes))
        expected += padded(info.size_bytes, alignment)
    return tuple(placed)
