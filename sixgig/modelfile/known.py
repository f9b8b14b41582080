"""What one file's tokenizer taught about those of its siblings: how many bytes its arrays of strings take."""

from itertools import pairwise
from struct import pack

from sixgig.modelfile.cursor import Cursor
from sixgig.modelfile.metadata import Entry, Metadata, Stored, ValueType

Row = tuple[str, int, int, str]


class KnownArrays:
    """Sizes of arrays of strings by key and count, to pass over the like in files of the same repository.

    An array is passed over only when the same next key stands right behind it. Strings of another total size
    are thus walked; a file that mimics the next key inside a string gets the header it asks for, checked
    like any other. Only headers that are read for planning are read this way. Threads may share one.
    """

    def __init__(self) -> None:
        self._sizes: dict[tuple[str, int], tuple[int, bytes]] = {}

    def learn(self, metadata: Metadata) -> None:
        """Remembers the arrays of strings in `metadata` that another pair follows."""
        for entry, following in pairwise(metadata.entries):
            value = entry.value
            if isinstance(value, Stored) and value.is_array and value.type is ValueType.STRING:
                self._sizes[entry.key, value.count] = value.size_bytes, _beginning(following)

    def pass_over(self, cursor: Cursor, key: str, count: int) -> bool:
        """Moves past the strings of the array `key`, if they end where such an array ended before."""
        size_bytes, following = self._sizes.get((key, count), (0, b""))
        return bool(following) and cursor.leap(size_bytes, following)

    def rows(self) -> list[Row]:
        """What is known as plain values, for a cache: key, count, bytes, and in hex what follows."""
        sizes = self._sizes.copy()  # other threads may be learning
        return [(key, count, size, following.hex()) for (key, count), (size, following) in sizes.items()]

    def add(self, rows: list[Row]) -> None:
        """Takes over rows of another."""
        for key, count, size_bytes, following in rows:
            self._sizes.setdefault((key, count), (size_bytes, bytes.fromhex(following)))


def _beginning(entry: Entry) -> bytes:
    """The bytes a pair begins with: its key and its type."""
    key = entry.key.encode()
    return pack("<Q", len(key)) + key + pack("<I", entry.type)
