"""Streams as their APIs document them: what the engine leaves out is put in. The one place where bytes of an
answer change (docs/decisions/0011-complete-the-engines-streams.md). Pure: bytes in, bytes out.
"""

from __future__ import annotations

from typing import Protocol

from sixgig.gateway.call import Call
from sixgig.gateway.pieces import EventCutter
from sixgig.server.completing_messages import MessageEvents
from sixgig.server.completing_responses import ResponseEvents
from sixgig.server.events import Document, read


class Completer(Protocol):
    """complete() each event in order; sequence_number: the next event's, where the API counts them."""

    sequence_number: int

    def complete(self, event: bytes) -> bytes:
        """The event, what was missing before it, or nothing where it repeats what was said."""


class ChatEvents:
    """A chat's first piece says whose words follow; the engine forgets it where that is half a character."""

    def __init__(self) -> None:
        self.sequence_number = 0
        self._begun = False

    def complete(self, event: bytes) -> bytes:
        """The first piece of an answer with its role; all else as it is."""
        if self._begun or b'"delta"' not in event:
            return event
        self._begun = True
        document = read(event)
        if document is None or _role(document) is not None:
            return event
        return event.replace(b'"delta":{', b'"delta":{"role":"assistant",', 1)


class AsItIs:
    """For streams that lack nothing."""

    sequence_number = 0

    def complete(self, event: bytes) -> bytes:
        """The event."""
        return event


class CompletedStream:
    """feed() it an answer's bytes as they come; it gives whole events only."""

    def __init__(self, call: Call) -> None:
        self._cutter, self._completer = EventCutter(), _completer(call)

    @property
    def sequence_number(self) -> int:
        """The next event's."""
        return self._completer.sequence_number

    def feed(self, piece: bytes) -> bytes:
        """Events as far as they are whole; empty where none is."""
        return b"".join(map(self._completer.complete, self._cutter.feed(piece)))

    def close(self) -> bytes:
        """What the stream ended with."""
        return self._cutter.close()


def _completer(call: Call) -> Completer:
    match call.path:
        case "/v1/responses":
            return ResponseEvents()
        case "/v1/messages":
            return MessageEvents(f"msg_{call.id}", call.model)
        case "/v1/chat/completions":
            return ChatEvents()
    return AsItIs()


def _role(document: Document) -> object:
    """Of the first choice; False where there is none to complete."""
    choices = document.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    delta = first.get("delta") if isinstance(first, dict) else None
    return delta.get("role") if isinstance(delta, dict) and delta else False
