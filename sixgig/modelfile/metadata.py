"""A model's key-value pairs: scalars in memory, long strings and arrays left in the file until asked for."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct, unpack

from sixgig.errors import ModelFileError
from sixgig.modelfile.source import ByteSource, read_all

Scalar = bool | int | float | str
_LONGEST_BYTES = 32 * 1024**2
_MOST_LAYERS = 4096


class ValueType(IntEnum):
    """GGUF's value types, numbered as in the file."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


NUMBER_FORMATS = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "?",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}
NUMBER_BYTES = {kind: Struct("<" + code).size for kind, code in NUMBER_FORMATS.items()}


@dataclass(frozen=True)
class Stored:
    """A string (count 1) or an array that stayed in the file: `size_bytes` from `offset` on."""

    type: ValueType
    count: int
    offset: int
    size_bytes: int
    is_array: bool


@dataclass(frozen=True)
class Entry:
    """One pair: its value, its type as written, and the bytes [start, end) it takes in the header."""

    key: str
    type: ValueType
    value: Scalar | Stored
    start: int
    end: int


class Metadata:
    """The pairs of one file, by key. Asking for a value of another type than it has is a ModelFileError."""

    def __init__(self, source: ByteSource, entries: tuple[Entry, ...]) -> None:
        self.source = source
        self.entries = entries
        self._by_key = {entry.key: entry for entry in entries}

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: str) -> Scalar | None:
        """A scalar or a string, None when absent."""
        value = self._by_key[key].value if key in self._by_key else None
        if not isinstance(value, Stored):
            return value
        if value.is_array:
            raise self._mistyped(key, "a single value")
        return self._read(key, value).decode(errors="replace")

    def text(self, key: str) -> str | None:
        """A string, None when absent."""
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            raise self._mistyped(key, "a string")
        return value

    def integer(self, key: str) -> int | None:
        """An integer, None when absent."""
        value = self.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise self._mistyped(key, "an integer")
        return value

    def integers(self, key: str) -> list[int] | int | None:
        """An integer for all layers or one for each, None when absent or an array without an element."""
        if not self.count(key):
            return None if self.is_array(key) else self.integer(key)
        if self.count(key) > _MOST_LAYERS:
            raise ModelFileError(f"{self.source.name}: {key} is too long", f"{self.count(key)} elements")
        values = self.array(key)
        if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            raise self._mistyped(key, "integers")
        return [int(value) for value in values]

    def is_array(self, key: str) -> bool:
        """Whether it is there as an array."""
        value = self._by_key[key].value if key in self._by_key else None
        return isinstance(value, Stored) and value.is_array

    def count(self, key: str) -> int:
        """Elements of an array, without reading it; 0 when absent or no array."""
        value = self._by_key[key].value if key in self._by_key else None
        return value.count if isinstance(value, Stored) and value.is_array else 0

    def array(self, key: str) -> list[Scalar]:
        """An array, read from the file now and kept nowhere; empty when absent."""
        if key not in self._by_key:
            return []
        value = self._by_key[key].value
        if not isinstance(value, Stored) or not value.is_array:
            raise self._mistyped(key, "an array")
        raw = self._read(key, value)
        if value.type is ValueType.STRING:
            return self._strings(key, raw, value.count)
        return list(unpack(f"<{value.count}{NUMBER_FORMATS[value.type]}", raw))

    def _read(self, key: str, stored: Stored) -> bytes:
        if stored.size_bytes > _LONGEST_BYTES:
            raise ModelFileError(f"{self.source.name}: {key} is too long", f"{stored.size_bytes} bytes")
        raw = read_all(self.source, stored.offset, stored.size_bytes)
        if len(raw) != stored.size_bytes:
            raise ModelFileError(f"{self.source.name} changed while it was open", f"{key} is cut short")
        return raw

    def _strings(self, key: str, raw: bytes, count: int) -> list[Scalar]:
        """`count` strings that fill `raw`, each with its length before it."""
        strings, at = list[Scalar](), 0
        for _ in range(count):
            end = at + 8 + int.from_bytes(raw[at : at + 8], "little")
            strings.append(raw[at + 8 : end].decode(errors="replace"))
            at = end
        if at != len(raw):
            raise ModelFileError(
                f"{self.source.name}: {key} does not end where it must", f"{at} of {len(raw)} bytes"
            )
        return strings

    def _mistyped(self, key: str, wanted: str) -> ModelFileError:
        found = self._by_key[key]
        kind = "an array" if self.count(key) else found.type.name
        return ModelFileError(f"{self.source.name}: {key} must be {wanted}", f"it is {kind}")
