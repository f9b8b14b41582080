"""OpenAI's responses, as the engine streams them and as OpenAI documents them.

https://platform.openai.com/docs/api-reference/responses-streaming. The engine leaves out where an event
belongs (output_index, content_index, sequence_number), what a response and its parts begin with, and the
beginning or the rest of what it knew only at its end; it begins again with each token where the first was
half a character. A field that it does write is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sixgig.gateway.pieces import LONGEST_EVENT
from sixgig.server.events import Document, read, with_fields, written

_MOST_ITEMS = 4096
_CREATED, _DONE = "response.created", ("response.completed", "response.incomplete", "response.failed")
_BEGINS = (_CREATED, "response.queued", "response.in_progress")
_ADDED, _ITEM_DONE = "response.output_item.added", "response.output_item.done"
_PART_ADDED, _PART_DONE = "response.content_part.added", "response.content_part.done"
_TEXT, _REASONING = "response.output_text", "response.reasoning_text"
_ARGUMENTS = "response.function_call_arguments"
_OF_TEXTS = tuple(f"{name}.{said}" for name in (_TEXT, _REASONING) for said in ("delta", "done"))
_OF_PARTS = (_PART_ADDED, _PART_DONE, *_OF_TEXTS)
_OF_ITEMS = (_ADDED, _ITEM_DONE, f"{_ARGUMENTS}.delta", f"{_ARGUMENTS}.done", *_OF_PARTS)
_KNOWN = (*_BEGINS, *_DONE, *_OF_ITEMS)
# Of a text's kind of event: the item it belongs to, and the part it belongs to before its first word.
_HOLDERS: dict[str, tuple[Document, Document]] = {
    _TEXT: (
        {"type": "message", "role": "assistant"},
        {"type": "output_text", "text": "", "annotations": [], "logprobs": []},
    ),
    _REASONING: ({"type": "reasoning", "summary": []}, {"type": "reasoning_text", "text": ""}),
}


@dataclass
class _Item:
    """Its place in the output, its parts, and how many characters of its text or arguments went out."""

    index: int
    parts: int = 0
    sent: int = 0
    arguments_done: bool = False


class ResponseEvents:
    """Keeps a few numbers for each item, and events themselves only until the response's name is known.

    sequence_number: the next event's.
    """

    def __init__(self) -> None:
        self.sequence_number = 0
        self._items: dict[str, _Item] = {}
        self._named, self._created = False, False
        self._held: list[bytes] = []

    def complete(self, event: bytes) -> bytes:
        """The event with all its fields, what was missing before it, or nothing where it begins once more."""
        document = read(event)
        said = document.get("type") if document else None
        if document is None or said not in _KNOWN:
            return event
        if not self._named:
            return self._first(str(said), event, document)
        return b"".join(self._told(str(said), event, document))

    def _first(self, said: str, event: bytes, document: Document) -> bytes:
        """What comes before the response's name is held back: its beginning has to name it."""
        response = document.get("response")
        id_ = response.get("id") if isinstance(response, dict) else None
        if id_ is None and sum(map(len, self._held)) < LONGEST_EVENT:
            self._held.append(event)
            return b""
        self._named, held, self._held = True, self._held, []
        begun = b""
        if said in _BEGINS:
            held.insert(0, event)
        else:
            held.append(event)
            response = {"id": id_, "object": "response", "status": "in_progress", "output": []}
            begun = self._written({"type": _CREATED, "response": response}) if id_ is not None else b""
            self._created = True
        return begun + b"".join(map(self.complete, held))

    def _told(self, said: str, event: bytes, document: Document) -> Iterator[bytes]:
        if said in _BEGINS:
            if self._created and (said == _CREATED or self._items):
                return
            self._created = True
            yield self._with(event, document, {}, _nested(document, "response", None, {"output": []}))
            return
        item_id = _item_id(document)
        yield from self._before(said, item_id, document)
        known = self._items.get(item_id)
        if known is None:
            yield self._with(event, document, {})
            return
        changed = document
        if said == _PART_ADDED:
            known.parts += 1
            changed = _nested(document, "part", "output_text", _HOLDERS[_TEXT][1])
        fields: Document = {"output_index": known.index}
        if said in _OF_PARTS:
            fields["content_index"] = max(0, known.parts - 1)
        if said.startswith(_TEXT):
            fields["logprobs"] = []
        yield self._with(event, document, fields, changed)

    def _before(self, said: str, item_id: str, document: Document) -> Iterator[bytes]:
        """What should have been said before this event, and was not."""
        name, _, kind = said.rpartition(".")
        if said == _ADDED:
            self._register(item_id, document.get("output_index"))
        elif said == _ITEM_DONE:
            yield from self._before_item_done(item_id, document)
        elif name in _HOLDERS:
            yield from self._before_text(name, item_id)
        known = self._items.get(item_id)
        if known is None or not item_id:
            return
        if kind == "delta":
            known.sent += len(_text(document, "delta"))
        elif said == f"{_TEXT}.done":
            yield from self._rest(_TEXT, item_id, known, _text(document, "text"))
        elif said == f"{_ARGUMENTS}.done":
            known.arguments_done = True

    def _before_text(self, name: str, item_id: str) -> Iterator[bytes]:
        holder, part = _HOLDERS[name]
        if item_id not in self._items:
            yield from self._began(holder | {"id": item_id, "status": "in_progress", "content": []})
        known = self._items.get(item_id)
        if known is not None and not known.parts:
            known.parts = 1
            place = {"output_index": known.index, "content_index": 0}
            yield self._written({"type": _PART_ADDED, "item_id": item_id, **place, "part": part})

    def _before_item_done(self, item_id: str, document: Document) -> Iterator[bytes]:
        item = document.get("item")
        if not isinstance(item, dict):
            return
        is_call = item.get("type") == "function_call"
        if item_id not in self._items:
            empty: Document = {"arguments": ""} if is_call else {"content": []}
            begun = {name: value for name, value in empty.items() if name in item}
            yield from self._began(item | {"status": "in_progress"} | begun)
        known = self._items.get(item_id)
        if known is not None and is_call and not known.arguments_done:
            known.arguments_done = True
            arguments = _text(item, "arguments")
            yield from self._rest(_ARGUMENTS, item_id, known, arguments)
            place = {"item_id": item_id, "output_index": known.index}
            yield self._written({"type": f"{_ARGUMENTS}.done", **place, "arguments": arguments})

    def _rest(self, name: str, item_id: str, known: _Item, whole: str) -> Iterator[bytes]:
        """As much of a text as no piece brought."""
        rest = whole[known.sent :]
        known.sent = len(whole)
        if rest:
            place: Document = {"item_id": item_id, "output_index": known.index}
            if name == _TEXT:
                place |= {"content_index": max(0, known.parts - 1), "logprobs": []}
            yield self._written({"type": f"{name}.delta", **place, "delta": rest})

    def _began(self, item: Document) -> Iterator[bytes]:
        known = self._register(item["id"], None)
        if known is not None:
            yield self._written({"type": _ADDED, "output_index": known.index, "item": item})

    def _register(self, item_id: str, index: object) -> _Item | None:
        if not item_id or len(self._items) >= _MOST_ITEMS:
            return None
        known = _Item(index if isinstance(index, int) else len(self._items))
        return self._items.setdefault(item_id, known)

    def _with(
        self, event: bytes, document: Document, fields: Document, changed: Document | None = None
    ) -> bytes:
        """The event with fields that it lacks. changed: what it says by now, where it is not the document."""
        number = document.get("sequence_number")
        missing = {name: value for name, value in fields.items() if name not in document}
        if isinstance(number, int):
            self.sequence_number = number
        else:
            missing["sequence_number"] = self.sequence_number
        self.sequence_number += 1
        return with_fields(event if changed is None or changed is document else written(changed), missing)

    def _written(self, document: Document) -> bytes:
        self.sequence_number += 1
        return written(document | {"sequence_number": self.sequence_number - 1})


def _item_id(document: Document) -> str:
    """Of the item itself or of what belongs to it; empty where it is not told."""
    item = document.get("item")
    id_ = item.get("id") if isinstance(item, dict) else document.get("item_id")
    return id_ if isinstance(id_, str) else ""


def _nested(document: Document, name: str, kind: str | None, fields: Document) -> Document:
    """The document; where what it has under a name, of this type, lacks fields, with them."""
    inner: Any = document.get(name)
    if not isinstance(inner, dict) or inner.get("type") != kind or fields.keys() <= inner.keys():
        return document
    return document | {name: fields | inner}


def _text(document: Document, name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""
