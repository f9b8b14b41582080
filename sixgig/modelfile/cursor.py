"""Walks a GGUF header forward in large blocks, holding one block at a time."""

from io import FileIO
from pathlib import Path
from struct import Struct

from sixgig.errors import ModelFileError
from sixgig.units import format_bytes

MAX_HEADER_BYTES = 128 * 1024**2
_BLOCK_BYTES = 1024**2
_U32, _U64 = Struct("<I"), Struct("<Q")


class Cursor:
    """A position in a file of known size; running past the end is a ModelFileError, never a large read."""

    def __init__(self, file: FileIO, path: Path, size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self._file = file
        self._block = b""
        self._block_start = 0
        self._at = 0

    @property
    def position(self) -> int:
        """Offset of the next byte in the file."""
        return self._block_start + self._at

    @property
    def remaining_bytes(self) -> int:
        """Bytes of the file after the position."""
        return self.size_bytes - self.position

    def take(self, size: int, what: str) -> bytes:
        """The next `size` bytes; callers bound `size` themselves."""
        self._fill(size, what)
        self._at += size
        return self._block[self._at - size : self._at]

    def u32(self, what: str) -> int:
        """The next unsigned 32-bit integer."""
        return int(_U32.unpack(self.take(4, what))[0])

    def u64(self, what: str) -> int:
        """The next unsigned 64-bit integer."""
        return int(_U64.unpack(self.take(8, what))[0])

    def name(self, max_bytes: int, what: str) -> str:
        """A non-empty UTF-8 string of at most `max_bytes`."""
        size = self.u64(what)
        if not 0 < size <= max_bytes:
            raise self.damaged(f"{what} has a length out of range", f"{size} bytes, 1 to {max_bytes} allowed")
        try:
            return self.take(size, what).decode()
        except UnicodeDecodeError as error:
            raise self.damaged(f"{what} is not UTF-8", f"at offset {self.position - size}") from error

    def skip(self, size: int, what: str) -> None:
        """Moves on by `size` bytes without reading them."""
        if size > self.remaining_bytes:
            raise self.ends_inside(what)
        self._move(self.position + size)

    def skip_strings(self, count: int, what: str) -> None:
        """Moves past `count` length-prefixed strings, looking at their lengths only."""
        while count:
            self._fill(8, what)
            count, at = _pass_strings(self._block, self._at, count)
            if self._block_start + at > self.size_bytes:
                raise self.ends_inside(what)
            self._move(self._block_start + at)

    def damaged(self, what: str, numbers: str = "") -> ModelFileError:
        """The error for a header that lies or is broken."""
        return ModelFileError(
            f"{self.path.name}: {what}", numbers, "the file is damaged; fetch or convert it again"
        )

    def ends_inside(self, what: str) -> ModelFileError:
        """The error for a file that is too short for what its header announces."""
        return self.damaged(f"the file ends inside {what}", f"it has {self.size_bytes} bytes")

    def _move(self, position: int) -> None:
        if position > MAX_HEADER_BYTES:
            raise self.damaged("the header is too long", f"over {format_bytes(MAX_HEADER_BYTES)}")
        if position > self._block_start + len(self._block):
            self._block, self._block_start = b"", position
        self._at = position - self._block_start

    def _fill(self, size: int, what: str) -> None:
        """Sees to it that `size` bytes from the position on are in the block."""
        if size > len(self._block) - self._at:
            if size > self.remaining_bytes:
                raise self.ends_inside(what)
            self._move(self.position)
            self._load(max(size, _BLOCK_BYTES))
            if size > len(self._block):
                raise self.ends_inside(what)

    def _load(self, size: int) -> None:
        position = self.position
        self._file.seek(position)
        self._block, self._block_start, self._at = self._file.read(size), position, 0


def _pass_strings(block: bytes, at: int, count: int) -> tuple[int, int]:
    """Strings still to pass and where the next starts, having passed those whose length lies in `block`."""
    last, length = len(block) - 8, _U64.unpack_from
    while count and at <= last:
        at += 8 + length(block, at)[0]
        count -= 1
    return count, at
