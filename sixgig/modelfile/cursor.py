"""Walks a GGUF header forward in large blocks, holding one block at a time."""

from struct import Struct

from sixgig.errors import ModelFileError
from sixgig.modelfile.source import ByteSource
from sixgig.units import format_bytes

MAX_HEADER_BYTES = 128 * 1024**2
_FIRST_BLOCK_BYTES, _BLOCK_BYTES = 256 * 1024, 1024**2
_U32, _U64 = Struct("<I"), Struct("<Q")


class Cursor:
    """A position in a file of known size; running past the end is a ModelFileError, never a large read.

    Blocks grow while they follow each other and start small after a leap: what is skipped is not fetched.
    """

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self.size_bytes = source.size_bytes
        self._block = b""
        self._block_start = 0
        self._block_bytes = _FIRST_BLOCK_BYTES
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

    def leap(self, size: int, expected: bytes) -> bool:
        """Moves on by `size` bytes if `expected` stands there; stays otherwise."""
        target = self.position + size
        if target > MAX_HEADER_BYTES or target + len(expected) > self.size_bytes:
            return False
        here = self._block, self._block_start, self._block_bytes, self._at
        self._move(target)
        if self.take(len(expected), "what follows an array") == expected:
            self._at -= len(expected)
            return True
        self._block, self._block_start, self._block_bytes, self._at = here
        return False

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
            f"{self.source.name}: {what}", numbers, "the file is damaged; fetch or convert it again"
        )

    def ends_inside(self, what: str) -> ModelFileError:
        """The error for a file that is too short for what its header announces."""
        return self.damaged(f"the file ends inside {what}", f"it has {self.size_bytes} bytes")

    def _move(self, position: int) -> None:
        if position > MAX_HEADER_BYTES:
            raise self.damaged("the header is too long", f"over {format_bytes(MAX_HEADER_BYTES)}")
        if position > self._block_start + len(self._block):
            self._block, self._block_start, self._block_bytes = b"", position, _FIRST_BLOCK_BYTES
        self._at = position - self._block_start

    def _fill(self, size: int, what: str) -> None:
        """Sees to it that `size` bytes from the position on are in the block."""
        if size > len(self._block) - self._at:
            if size > self.remaining_bytes:
                raise self.ends_inside(what)
            self._move(self.position)
            self._load(size)
            if size > len(self._block):
                raise self.ends_inside(what)

    def _load(self, size: int) -> None:
        """The next block, of `size` bytes at least."""
        block, start = self._block[self._at :], self.position
        while len(block) < size:
            missing = max(size - len(block), self._block_bytes)
            if not (piece := self.source.read(start + len(block), missing)):
                break
            block += piece
        self._block, self._block_start, self._at = block, start, 0
        self._block_bytes = min(2 * self._block_bytes, _BLOCK_BYTES)


def _pass_strings(block: bytes, at: int, count: int) -> tuple[int, int]:
    """Strings still to pass and where the next starts, having passed those whose length lies in `block`."""
    last, length = len(block) - 8, _U64.unpack_from
    while count and at <= last:
        at += 8 + length(block, at)[0]
        count -= 1
    return count, at
