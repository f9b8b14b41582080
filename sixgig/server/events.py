"""Server-sent events, cut out of a stream of bytes and read; pure."""

from __future__ import annotations

import json
import re
from typing import Any

LONGEST_EVENT = 1 << 20  # what is longer passes in parts, unread
Document = dict[str, Any]
_ENCODER = json.JSONEncoder(separators=(",", ":"))  # made once: json.dumps makes one a call
_USUAL_END = b"\n\n"
_END, _LONGEST_END = re.compile(rb"\r?\n\r?\n"), 4
_DATA = re.compile(rb"^data: ?(\{[^\r\n]*\}) *\r?$", re.MULTILINE)


class EventCutter:
    """feed() it the bytes as they come; it gives the same bytes, an element for each whole event."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that this ends, each with its end; at most LONGEST_EVENT bytes are kept."""
        if not self._rest and piece.find(_USUAL_END) == len(piece) - 2 > 0 and b"\r" not in piece:
            return [piece]  # an event as the engine writes it
        unsearched = max(0, len(self._rest) - _LONGEST_END + 1)
        self._rest += piece
        ends = [found.end() for found in _END.finditer(self._rest, unsearched)]
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


def read(event: bytes) -> Document | None:
    """What an event carries; None where that is no single JSON object."""
    found = _DATA.findall(event)
    if len(found) != 1:
        return None
    try:
        document = json.loads(found[0])
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def with_fields(event: bytes, fields: Document) -> bytes:
    """An event that read() could read, with fields before its own; every other byte stays."""
    found = _DATA.search(event)
    if found is None or not fields:
        return event
    at = found.start(1) + 1
    comma = b"" if event[at:].lstrip().startswith(b"}") else b","
    return event[:at] + _json(fields)[1:-1] + comma + event[at:]


def written(document: Document) -> bytes:
    """An event of a document that says its own type."""
    return b"event: " + str(document["type"]).encode() + b"\ndata: " + _json(document) + b"\n\n"


def _json(document: Document) -> bytes:
    """ASCII, so that no text can end a line or an event."""
    return _ENCODER.encode(document).encode()
