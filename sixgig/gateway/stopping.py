"""Why an answer to Anthropic's API ended: a stop sequence is a reason of its own there.

The engine names the text that stopped it, but calls the reason the end of the turn, and names texts of the
chat template's as well. With `stop_sequences` asked for, that one field is put right; pure.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sixgig.gateway.pieces import EventCutter

_MARK = b'"stop_sequence":"'


async def told_in_stream(pieces: AsyncIterator[bytes], asked: Sequence[str]) -> AsyncIterator[bytes]:
    """The events, the last but one with its reason."""
    cutter = EventCutter()
    async for piece in pieces:
        if events := cutter.feed(piece):
            yield b"".join(_event(event, asked) for event in events)
    if rest := cutter.close():
        yield rest


async def told_whole(pieces: AsyncIterator[bytes], asked: Sequence[str]) -> AsyncIterator[bytes]:
    """The one document with its reason."""
    body = b"".join([piece async for piece in pieces])
    document = json.loads(body) if _MARK in body else {}
    yield _written(document) if _mended(document, asked) else body


def _event(event: bytes, asked: Sequence[str]) -> bytes:
    """Only message_delta says why an answer ended."""
    head, mark, data = event.partition(b"\ndata: ")
    if not head.endswith(b"event: message_delta") or _MARK not in data:
        return event
    document = json.loads(data)
    return head + mark + _written(document) + b"\n\n" if _mended(document.get("delta"), asked) else event


def _mended(ending: Any, asked: Sequence[str]) -> bool:
    """Whether it was changed."""
    if not isinstance(ending, dict) or ending.get("stop_reason") != "end_turn":
        return False
    if ending.get("stop_sequence") in asked:
        ending["stop_reason"] = "stop_sequence"
    else:
        ending["stop_sequence"] = None
    return True


def _written(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
