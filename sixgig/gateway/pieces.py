"""Bytes that come in pieces, cut where a line or an event ends. Pure; each byte is looked at once, or a few
times.
"""

from __future__ import annotations

import re

LONGEST_EVENT = 1 << 20  # what is longer passes in parts
_EVENT_END, _LONGEST_END = re.compile(rb"\r?\n\r?\n"), 4


class LineBuffer:
    """feed() it bytes in order. n_bytes: of what came after the last line's end."""

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def n_bytes(self) -> int:
        """Kept."""
        return len(self._rest)

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that this ends, without their ends."""
        end = piece.rfind(b"\n")
        if end < 0:
            self._rest += piece
            return []
        lines = (bytes(self._rest) + piece[:end]).split(b"\n")
        self._rest = bytearray(piece[end + 1 :])
        return lines

    def clear(self) -> None:
        """Forget what is kept."""
        self._rest.clear()


class EventCutter:
    """feed() it server-sent events as they come; it gives the same bytes, an element for each whole event."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that this ends, each with its end; at most LONGEST_EVENT bytes are kept."""
        unsearched = max(0, len(self._rest) - _LONGEST_END + 1)
        self._rest += piece
        ends = [found.end() for found in _EVENT_END.finditer(self._rest, unsearched)]
        events = [bytes(self._rest[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
        del self._rest[: ends[-1] if ends else 0]
        if len(self._rest) > LONGEST_EVENT:
            events.append(self.close())
        return events

    def close(self) -> bytes:
        """What is left, which ends no event."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest
