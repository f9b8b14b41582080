"""Why an answer to Anthropic's API ended: a stop sequence is a reason of its own there.

The engine names the text that stopped it, but calls the reason the end of the turn, and names texts of the
chat template's as well. With `stop_sequences` asked for, that one field is put right; pure.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

_EVENT_END, _MARK = b"\n\n", b'"stop_sequence":"'


async def told_in_stream(pieces: AsyncIterator[bytes], asked: Sequence[str]) -> AsyncIterator[bytes]:
    """The events, the last but one with its reason."""
    rest = b""
    async for piece in pieces:
        *events, rest = (rest + piece).split(_EVENT_END)
        if events:
            yield b"".join(_event(event, asked) + _EVENT_END for event in events)
    if rest:
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
    return head + mark + _written(document) if _mended(document.get("delta"), asked) else event


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
