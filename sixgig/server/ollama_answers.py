"""The engine's answers, streamed or whole, in the lines Ollama's clients read. Pure but for the clock."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sixgig.errors import ServingError
from sixgig.gateway.pieces import LineBuffer

NDJSON = "application/x-ndjson"
_LONGEST_LINE_BYTES = 16 << 20
_CURE = "ask again; the server's log has the cause"
_NS = 10**9
# Why /infill stopped, which does not say it in OpenAI's words.
_STOPS = {"limit": "length"}


@dataclass(frozen=True)
class Form:
    """model: as the client called it. chat: "message" lines, else "response" lines. The clocks are in ns."""

    model: str
    chat: bool
    now_ns: Callable[[], int] = time.time_ns
    clock_ns: Callable[[], int] = time.monotonic_ns
    began_ns: int = field(default_factory=time.monotonic_ns)

    def line(self, part: Part, **more: Any) -> dict[str, Any]:
        """One piece of the answer; `done` unless told otherwise is False."""
        said = {"message": part.message()} if self.chat else part.response()
        logprobs = {"logprobs": part.logprobs} if part.logprobs else {}
        head = {"model": self.model, "created_at": rfc3339(self.now_ns())}
        return head | said | {"done": False} | logprobs | more

    def nothing(self, reason: str) -> dict[str, Any]:
        """The answer where none was asked for: the model was loaded or sent away."""
        return self.line(Part(), done=True, done_reason=reason)

    def took_ns(self) -> int:
        """Since the request came."""
        return self.clock_ns() - self.began_ns


@dataclass(frozen=True)
class Part:
    """A piece of an answer, or all of it. calls: complete, as Ollama shows them."""

    text: str = ""
    thinking: str = ""
    calls: tuple[dict[str, Any], ...] = ()
    logprobs: tuple[dict[str, Any], ...] = ()

    def message(self) -> dict[str, Any]:
        """As /api/chat says it."""
        thinking = {"thinking": self.thinking} if self.thinking else {}
        calls = {"tool_calls": list(self.calls)} if self.calls else {}
        return {"role": "assistant", "content": self.text} | thinking | calls

    def response(self) -> dict[str, Any]:
        """As /api/generate says it."""
        return {"response": self.text} | ({"thinking": self.thinking} if self.thinking else {})


@dataclass
class _Heard:
    """What one answer has said so far. calls: by their index, arguments as text that may be incomplete."""

    finish: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)

    def hear(self, document: dict[str, Any]) -> Part:
        """A chunk or a whole answer, of any of the engine's endpoints; what it adds to the text."""
        self.usage = _mapping(document.get("usage")) or self.usage
        self.timings = _mapping(document.get("timings")) or self.timings
        choices = document.get("choices")
        choice = _mapping(choices[0]) if isinstance(choices, list) and choices else {}
        if document.get("stop") is True:
            self.finish = _STOPS.get(_text(document.get("stop_type")), "stop")
        self.finish = _text(choice.get("finish_reason")) or self.finish
        said = _mapping(choice.get("delta")) or _mapping(choice.get("message"))
        for place, call in enumerate(_list(said.get("tool_calls"))):
            self._hear_call(place, _mapping(call))
        text = said.get("content") or choice.get("text") or document.get("content")
        logprobs = _list(_mapping(choice.get("logprobs")).get("content"))
        return Part(
            text=_text(text),
            thinking=_text(said.get("reasoning_content")),
            logprobs=tuple(_logprob(_mapping(one)) for one in logprobs),
        )

    def called(self) -> Part:
        """The tools it calls; a call whose arguments are no object is text, as the model wrote it."""
        found, text = [], ""
        for place, call in sorted(self.calls.items()):
            arguments = _arguments(call["arguments"])
            if arguments is None:
                text += call["name"] + call["arguments"]
                continue
            function = {"index": place, "name": call["name"], "arguments": arguments}
            found.append(({"id": call["id"]} if call["id"] else {}) | {"function": function})
        return Part(text=text, calls=tuple(found))

    def ending(self, form: Form, load_ns: int) -> dict[str, Any]:
        """The last line's fields. Counts are of the whole prompt, cached or not; the unknown is left out."""
        fields = {
            "total_duration": form.took_ns(),
            "load_duration": load_ns,
            "prompt_eval_count": self.usage.get("prompt_tokens", self._read_tokens()),
            "prompt_eval_duration": _nanoseconds(self.timings.get("prompt_ms")),
            "eval_count": self.usage.get("completion_tokens", self.timings.get("predicted_n")),
            "eval_duration": _nanoseconds(self.timings.get("predicted_ms")),
        }
        reason = "length" if self.finish == "length" else "stop"
        known = {name: value for name, value in fields.items() if _is_count(value)}
        return {"done": True, "done_reason": reason} | known

    def _read_tokens(self) -> int | None:
        """The prompt's, by the engine's timings, which count the cached ones apart."""
        counts = [self.timings.get(name, 0) for name in ("cache_n", "prompt_n")]
        return sum(counts) if "prompt_n" in self.timings and all(map(_is_count, counts)) else None

    def _hear_call(self, place: int, call: dict[str, Any]) -> None:
        index = call.get("index", place)
        if not _is_count(index):
            return
        kept = self.calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
        function = _mapping(call.get("function"))
        kept["id"] = kept["id"] or _text(call.get("id"))
        kept["name"] += _text(function.get("name"))
        kept["arguments"] += _text(function.get("arguments"))


class Lines:
    """feed() it the engine's server-sent events in any pieces, then close() it; both give Ollama's lines.

    An error in the stream, or its early end, becomes the last line. broken: that was it.
    """

    def __init__(self, form: Form, load_ns: int) -> None:
        self._form, self._load_ns = form, load_ns
        self._heard, self._buffer = _Heard(), LineBuffer()
        self.broken = False

    def feed(self, piece: bytes) -> bytes:
        """The lines that these bytes complete."""
        if self.broken:
            return b""
        lines = self._buffer.feed(piece)
        if self._buffer.n_bytes > _LONGEST_LINE_BYTES:
            self._buffer.clear()
            return self._break("a line of the engine's is too long")
        return b"".join(self._line(line) for line in lines)

    def close(self) -> bytes:
        """What is left, and the last line."""
        rest = self.feed(b"\n") if self._buffer.n_bytes else b""
        if self.broken:
            return rest
        if self._heard.finish is None:
            return rest + self._break("the answer broke off before its end")
        called, ending = self._heard.called(), self._heard.ending(self._form, self._load_ns)
        shown = ndjson(self._form.line(called)) if called.calls or called.text else b""
        return rest + shown + ndjson(self._form.line(Part(), **ending))

    def _line(self, line: bytes) -> bytes:
        name, _, value = line.strip().partition(b":")
        if self.broken or name not in (b"data", b"error") or value.strip() in (b"", b"[DONE]"):
            return b""
        try:
            document = _document(value)
        except ServingError as error:
            return self._break(error.what)
        if name == b"error" or "error" in document:
            return self._break(engine_error(value))
        part = self._heard.hear(document)
        return ndjson(self._form.line(part)) if part != Part() else b""

    def _break(self, why: str) -> bytes:
        self.broken = True
        return ndjson({"error": why})


def whole(form: Form, load_ns: int, body: bytes) -> dict[str, Any]:
    """An answer that was not streamed. Raises ServingError where it cannot be read."""
    heard = _Heard()
    said = heard.hear(_document(body))
    called = heard.called()
    part = Part(said.text + called.text, said.thinking, called.calls, said.logprobs)
    return form.line(part, **heard.ending(form, load_ns))


def embeddings(body: bytes) -> tuple[list[list[float]], int]:
    """The vectors in the inputs' order, and the tokens read. Raises ServingError where it makes no sense."""
    document = _document(body)
    rows = [_mapping(row) for row in _list(document.get("data"))]
    try:
        rows.sort(key=lambda row: int(row["index"]))
        vectors = [[float(value) for value in row["embedding"]] for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise ServingError("the engine's embeddings cannot be read", cure=_CURE) from error
    count = _mapping(document.get("usage")).get("prompt_tokens")
    return vectors, count if isinstance(count, int) else 0


def shortened(vector: list[float], dimensions: int | None) -> list[float]:
    """Its first dimensions, of length 1 again."""
    if not dimensions or dimensions >= len(vector):
        return vector
    kept = vector[:dimensions]
    length = sum(value * value for value in kept) ** 0.5
    return [value / length for value in kept] if length else kept


def engine_error(body: bytes) -> str:
    """What an error of the engine's says, in any of its shapes."""
    try:
        error = _document(body)
    except ServingError:
        return body.decode("utf-8", "replace").strip()[:500] or "the engine gave no reason"
    inner = error.get("error", error)
    return _text(_mapping(inner).get("message")) or _text(inner) or "the engine gave no reason"


def is_too_long(body: bytes) -> bool:
    """Whether an error says that the prompt is longer than the context."""
    return b'"exceed_context_size_error"' in body


def ndjson(line: dict[str, Any]) -> bytes:
    """One line, in ASCII: some clients end lines at U+2028 and its like, too."""
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def rfc3339(at_ns: int) -> str:
    """Nanoseconds since 1970 as "2026-01-31T12:00:00.123456789Z"."""
    seconds, rest_ns = divmod(at_ns, _NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ns:09d}Z"


def _arguments(text: str) -> dict[str, Any] | None:
    """A call without any has an empty text."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _document(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ServingError("the engine's answer cannot be read", cure=_CURE) from error
    if not isinstance(found, dict):
        raise ServingError("the engine's answer cannot be read", cure=_CURE)
    return found


def _logprob(one: dict[str, Any]) -> dict[str, Any]:
    kept = {name: one[name] for name in ("token", "logprob", "bytes") if name in one}
    top = [_logprob(_mapping(other)) for other in _list(one.get("top_logprobs"))]
    return kept | ({"top_logprobs": top} if top else {})


def _nanoseconds(milliseconds: Any) -> int | None:
    is_number = isinstance(milliseconds, int | float) and not isinstance(milliseconds, bool)
    return round(milliseconds * 1e6) if is_number and 0 <= milliseconds < 1e12 else None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
