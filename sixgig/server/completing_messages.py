"""Anthropic's messages, as the engine streams them and as Anthropic documents them.

https://docs.anthropic.com/en/docs/build-with-claude/streaming. The engine forgets the beginning where the
first token is half a character, starts a block again where its end held something back, and omits fields.
"""

from __future__ import annotations

from sixgig.server.events import Document, read, written

_BEGUN_BY, _ANYWHERE = "message_start", ("ping", "error")
_MOST_BLOCKS = 4096
# Fields that a block of a kind starts with.
_FIELDS: dict[str, Document] = {
    "tool_use": {"input": {}},
    "thinking": {"thinking": "", "signature": ""},
    "text": {"text": ""},
}


class MessageEvents:
    """id, model: for a message whose beginning was left out."""

    def __init__(self, id_: str, model: str) -> None:
        self.sequence_number = 0
        self._id, self._model = id_, model
        self._begun = False
        self._started: set[object] = set()

    def complete(self, event: bytes) -> bytes:
        """The event, before it the message's beginning where that is missing; nothing for a second start."""
        if self._begun and b"content_block_start" not in event:
            return event
        document = read(event)
        said = document.get("type") if document else None
        if document is None or not isinstance(said, str) or said in _ANYWHERE:
            return event
        beginning = b"" if self._begun or said == _BEGUN_BY else written(self._beginning())
        self._begun = True
        return beginning + (self._block(event, document) if said == "content_block_start" else event)

    def _beginning(self) -> Document:
        """Of a message whose prompt's tokens the engine did not tell."""
        message: Document = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": self._model,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return {"type": _BEGUN_BY, "message": message}

    def _block(self, event: bytes, document: Document) -> bytes:
        index, block = document.get("index"), document.get("content_block")
        if not isinstance(index, int) or not isinstance(block, dict):
            return event
        if index in self._started:
            return b""
        if len(self._started) < _MOST_BLOCKS:
            self._started.add(index)
        missing = _FIELDS.get(str(block.get("type")), {})
        if missing.keys() <= block.keys():
            return event
        return written(document | {"content_block": missing | block})
