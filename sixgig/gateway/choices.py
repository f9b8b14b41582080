"""Several answers to one request. The engine reports the tokens of each by itself, of an answer that is no
stream only the first one's: here they are counted together, the one change of such answers.

A request that is no stream is asked as one, for its end tells all counts, and put together again.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from sixgig.errors import ServingError, UsageError
from sixgig.gateway.answer import StreamBrokenError
from sixgig.gateway.call import Call
from sixgig.gateway.pieces import EventCutter

_PATHS = ("/v1/chat/completions", "/v1/completions")
_COUNTS = (b'"n"', b'"n_cmpl"')
_COUNTED = (b'"usage"', b'"timings"')
_PER_EVENT = ("timings_per_token", "return_progress", "verbose")
Document = dict[str, Any]


@dataclass(frozen=True)
class Several:
    """answers: to each of the prompts. whole_asked: in one document."""

    answers: int
    prompts: int
    whole_asked: bool = True

    @classmethod
    def of(cls, call: Call) -> Several | None:
        """What a request asks for; None for a single answer, and for what the engine will refuse."""
        listed = call.path == "/v1/completions"
        if call.path not in _PATHS or not (listed or any(name in call.body for name in _COUNTS)):
            return None
        fields = call.fields
        asked = fields.get("n") if fields.get("n_cmpl") is None else fields["n_cmpl"]
        answers = asked if isinstance(asked, int) and asked > 1 else 1
        prompts = _n_prompts(fields.get("prompt")) if listed else 1
        return cls(answers, prompts, not call.stream) if answers * prompts > 1 else None

    def request(self, call: Call) -> bytes:
        """The body for the engine. Raises UsageError for what it cannot stream."""
        if call.stream:
            return call.body
        fields = {name: value for name, value in call.fields.items() if name not in _PER_EVENT}
        if fields.get("tools") and fields.get("logprobs"):
            what = "several answers with tools and log-probabilities are not possible"
            raise UsageError(what, f"n is {self.answers}", "ask for one answer")
        return json.dumps(fields | {"stream": True, "stream_options": {"include_usage": True}}).encode()

    def streamed(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The events; each report of an answer's end counts those that ended before as well."""
        return _counted(pieces, _Total(self.answers))

    async def whole(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The one document. Raises StreamBrokenError where an answer has no end."""
        gathered = _Gathered()
        async for event in _counted(pieces, _Total(self.answers)):
            for line in event.split(b"\n"):
                if line.startswith(b"data: {"):
                    gathered.take(json.loads(line[6:]))
        if len(gathered.ended) != self.answers * self.prompts:
            raise StreamBrokenError(ServingError("the engine broke off", "an answer has no end", "ask again"))
        yield json.dumps(gathered.document, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _n_prompts(prompt: Any) -> int:
    """A list with a number in it is one prompt, in tokens and texts."""
    if not isinstance(prompt, list) or any(isinstance(part, int | float) for part in prompt):
        return 1
    return max(1, len(prompt))


@dataclass
class _Total:
    """Of the answers that have ended. A prompt's tokens are read once for all its answers."""

    answers: int
    written: int = 0
    read: dict[int, tuple[int, int]] = field(default_factory=dict)

    def add(self, document: Document) -> None:
        """Put the sums in the place of one answer's own figures."""
        usage, timings = document.get("usage"), document.get("timings") or {}
        choices = document.get("choices") or []
        prompt = choices[0]["index"] // self.answers if choices else 0
        if usage is not None:
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            read, written = usage["prompt_tokens"], usage["completion_tokens"]
        else:
            cached, written = timings["cache_n"], timings["predicted_n"]
            read = cached + timings["prompt_n"]
        before = self.read.get(prompt, (read, cached))
        self.read[prompt] = read, min(cached, before[1])
        self.written += written
        self._put(usage, timings)

    def _put(self, usage: Document | None, timings: Document) -> None:
        read, cached = (sum(counts) for counts in zip(*self.read.values(), strict=True))
        if usage is not None:
            usage |= {"completion_tokens": self.written, "prompt_tokens": read}
            usage |= {"total_tokens": self.written + read, "prompt_tokens_details": {"cached_tokens": cached}}
        if timings:
            timings |= {"cache_n": cached, "prompt_n": read - cached, "predicted_n": self.written}
            for kind, count in (("prompt", read - cached), ("predicted", self.written)):
                took_ms = timings[f"{kind}_ms"]
                timings[f"{kind}_per_token_ms"] = took_ms / count if count else None
                timings[f"{kind}_per_second"] = 1000 * count / took_ms if took_ms else None


async def _counted(pieces: AsyncIterator[bytes], total: _Total) -> AsyncIterator[bytes]:
    """Whole events; those of an answer's end with the sums so far. Without "data: null", which the engine
    sends for every answer that begins but the first.
    """
    cutter = EventCutter()
    async for piece in pieces:
        events = [event for event in cutter.feed(piece) if event.strip() != b"data: null"]
        if changed := b"".join(_sum(event, total) for event in events):
            yield changed
    if (rest := cutter.close()).strip():
        yield rest


def _sum(event: bytes, total: _Total) -> bytes:
    if not any(mark in event for mark in _COUNTED):
        return event
    try:
        document = json.loads(event.removeprefix(b"data: "))
    except ValueError:  # a part of one
        return event
    ended = document.get("usage") or any(
        choice.get("finish_reason") for choice in document.get("choices", ())
    )
    if not ended or not (document.get("usage") or document.get("timings")):
        return event
    total.add(document)
    return b"data: " + json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n\n"


class _Gathered:
    """The chunks of a stream as the document that the engine gives without one."""

    def __init__(self) -> None:
        self.ended: set[int] = set()
        self._head: Document = {}
        self._choices: dict[int, Document] = {}

    def take(self, chunk: Document) -> None:
        """The next chunk."""
        self._head |= {name: value for name, value in chunk.items() if name != "choices"}
        for part in chunk.get("choices", ()):
            choice = self._choices.setdefault(part["index"], _empty_choice(part))
            _add_choice(choice, part)
            if part.get("finish_reason"):
                choice["finish_reason"] = part["finish_reason"]
                self.ended.add(part["index"])

    @property
    def document(self) -> Document:
        """All of it."""
        choices = [choice for _, choice in sorted(self._choices.items())]
        kind = str(self._head.get("object", "")).removesuffix(".chunk")
        return {"choices": choices} | self._head | {"object": kind}


def _empty_choice(part: Document) -> Document:
    if "delta" in part:
        return {
            "finish_reason": None,
            "index": part["index"],
            "message": {"role": "assistant", "content": ""},
        }
    return {"text": "", "index": part["index"], "logprobs": None, "finish_reason": None}


def _add_choice(choice: Document, part: Document) -> None:
    delta = part.get("delta", part)
    said = choice.get("message", choice)
    for name in ("content", "reasoning_content", "text"):
        if delta.get(name):
            said[name] = said.get(name, "") + delta[name]
    for call in delta.get("tool_calls") or ():
        _add_call(said.setdefault("tool_calls", []), call)
    if part.get("logprobs"):
        kept = choice.get("logprobs") or {"content": []}
        choice["logprobs"] = {"content": kept["content"] + part["logprobs"]["content"]}


def _add_call(calls: list[Document], part: Document) -> None:
    if part["index"] >= len(calls):
        calls.append({"type": "function", "function": {"name": "", "arguments": ""}, "id": ""})
    call, said = calls[part["index"]], part.get("function", {})
    call["id"] = call["id"] or part.get("id", "")
    for name in ("name", "arguments"):
        call["function"][name] += said.get(name, "")
