"""What server-sent events carry, read and written; pure."""

from __future__ import annotations

import json
import re
from typing import Any

Document = dict[str, Any]
_ENCODER = json.JSONEncoder(separators=(",", ":"))  # made once: json.dumps makes one a call
_USUAL_END = b"\n\n"
_DATA = re.compile(rb"^data: ?(\{[^\r\n]*\}) *\r?$", re.MULTILINE)


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
