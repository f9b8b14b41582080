"""What went by: tokens and times, read off an answer without changing a byte of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from sixgig.gateway.pieces import LineBuffer

_MARKS = (b'"usage"', b'"timings"')
# A text that is not empty, under any of the APIs' names for a piece of one; Responses repeats all at the end.
_WRITES = re.compile(
    rb'"(?:content|text|reasoning_content|reasoning|thinking|arguments|partial_json|delta)": ?"[^"]'
)
_REPEATS = re.compile(rb'"type": ?"response\.[a-z_.]*(?:done|completed|incomplete)"')
_LONGEST_LINE, _LONGEST_BODY = 1 << 20, 64 << 20
_WHOLE_BODY, _LONGEST_VALUE = 1 << 20, 64 << 10


@dataclass(frozen=True)
class Usage:
    """None where the answer did not tell. prompt_tokens counts cached_tokens too. decode_s, prefill_s: by the
    engine's own clock. reported: "usage" as it stood.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    reported: Any = None


class UsageWatch:
    """feed() it every byte of the body in order; `usage` is then what the answer said last.

    streamed: the body is server-sent events; written: how many of them held some of the answer, be it text,
    thinking or a tool's call. Covers the shapes of OpenAI, Anthropic and Responses.
    """

    def __init__(self, streamed: bool) -> None:
        self._streamed = streamed
        self._lines, self._body = LineBuffer(), bytearray()
        self._read = 0
        self.written = 0
        self._found: dict[str, Any] = {}
        self._timings: dict[str, Any] = {}
        self._usage: Usage | None = None

    def feed(self, piece: bytes) -> None:
        """The next bytes; lines and bodies of absurd length are passed over."""
        if not self._streamed:
            self._body += piece
            if len(self._body) > _LONGEST_BODY:
                self._body = bytearray()
            return
        for line in self._lines.feed(piece):
            self._see_line(line)
        if self._lines.n_bytes > _LONGEST_LINE:
            self._lines.clear()

    @property
    def usage(self) -> Usage:
        """What is known so far; of a body that is no stream, once all of it was fed."""
        if not self._streamed and len(self._body) > self._read:
            self._see(bytes(self._body))
            self._read = len(self._body)
        self._usage = self._usage or _usage(self._found, self._timings)
        return self._usage

    def _see_line(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        self.written += _WRITES.search(line) is not None and _REPEATS.search(line) is None
        if any(mark in line for mark in _MARKS):
            self._see(line[5:])

    def _see(self, text: bytes) -> None:
        self._usage = None
        for part in _parts(_document(text)):
            if isinstance(part.get("usage"), dict):
                self._found |= part["usage"]
            if isinstance(part.get("timings"), dict):
                self._timings = part["timings"]


def _document(text: bytes) -> Any:
    """Of a long one only what is looked for: to read megabytes of numbers, everybody would wait."""
    try:
        if len(text) <= _WHOLE_BODY:
            return json.loads(text)
        return {mark.strip(b'"').decode(): _marked(text, mark) for mark in _MARKS}
    except (ValueError, RecursionError):
        return None


def _marked(text: bytes, mark: bytes) -> Any:
    """What stands after the first mark, within _LONGEST_VALUE; no string holds one, for its quotes."""
    at = text.find(mark)
    value = text[at + len(mark) : at + _LONGEST_VALUE].lstrip().removeprefix(b":").lstrip()
    return None if at < 0 else json.JSONDecoder().raw_decode(value.decode("utf-8", "replace"))[0]


def _parts(document: Any) -> list[dict[str, Any]]:
    """The document, and what Anthropic and Responses wrap: "message" and "response"."""
    if not isinstance(document, dict):
        return []
    inner = (document.get("message"), document.get("response"))
    return [document, *(part for part in inner if isinstance(part, dict))]


def _usage(found: dict[str, Any], timings: dict[str, Any]) -> Usage:
    details = found.get("prompt_tokens_details") or found.get("input_tokens_details") or {}
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    if cached is None:
        cached = found.get("cache_read_input_tokens", timings.get("cache_n"))
    prompt = _count(found, "prompt_tokens", "input_tokens")
    if prompt is not None and "cache_read_input_tokens" in found:
        prompt += _number(cached) or 0  # Anthropic leaves cached tokens out of input_tokens
    if prompt is None and "prompt_n" in timings:
        prompt = (_number(timings["prompt_n"]) or 0) + (_number(timings.get("cache_n")) or 0)
    completion = _count(found, "completion_tokens", "output_tokens")
    return Usage(
        prompt_tokens=prompt,
        cached_tokens=_number(cached),
        completion_tokens=_number(timings.get("predicted_n")) if completion is None else completion,
        prefill_s=_seconds(timings.get("prompt_ms")),
        decode_s=_seconds(timings.get("predicted_ms")),
        reported=found or None,
    )


def _count(found: dict[str, Any], *names: str) -> int | None:
    return next((_number(found[name]) for name in names if name in found), None)


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else None


def _seconds(milliseconds: Any) -> float | None:
    known = isinstance(milliseconds, int | float) and not isinstance(milliseconds, bool)
    return milliseconds / 1000 if known and 0 <= milliseconds < 1e12 else None
