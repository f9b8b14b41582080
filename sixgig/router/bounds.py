"""What a request can cost at most, judged by its body alone."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

from sixgig.hardware.machine import Absent

UpstreamPath = Literal["chat/completions", "completions", "embeddings", "responses"]
UPSTREAM_PATHS: tuple[UpstreamPath, ...] = get_args(UpstreamPath)

_TEMPLATE_TOKENS = 1024
_MOST_OUTPUTS = 4096
_INDENT, _MOST_IN_TOOLS = 4, 20_000

# Fields known to add no work beyond the text in the body and the answers limited by max_output_tokens.
_FIELDS = {
    "model", "messages", "prompt", "input", "instructions", "suffix", "stream", "stream_options",
    "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "stop", "seed",
    "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty",
    "repetition_penalty", "logit_bias", "logprobs", "top_logprobs", "response_format", "text", "tools",
    "tool_choice", "functions", "function_call", "parallel_tool_calls", "reasoning", "reasoning_effort",
    "verbosity", "chat_template_kwargs", "user", "metadata", "store", "safety_identifier",
    "prompt_cache_key", "encoding_format", "dimensions",
}  # fmt: skip
_MESSAGE_FIELDS = {
    "role", "content", "name", "refusal", "tool_calls", "tool_call_id", "function_call",
    "reasoning_content", "reasoning", "type", "id", "status", "call_id", "arguments", "output", "summary",
    "encrypted_content",
}  # fmt: skip
_TEXTS = {
    "text", "input_text", "output_text", "refusal", "message", "function", "function_call",
    "function_call_output", "reasoning", "reasoning_text", "summary_text",
}  # fmt: skip


def upper_bound_tokens(body: bytes, fields: Mapping[str, Any]) -> int:
    """Tokens of the prompt in a JSON body, content coding undone: one a byte, and 1024. fields: it, read.

    A token of a byte-level BPE, or of SentencePiece with bytes to fall back on, spells at least one byte of
    the text that the tokenizer reads. That is UTF-8 as sent, which JSON writes in no fewer bytes, or one of
    Unicode's normal forms of it: they may be longer (U+FDFA: 3 bytes, 33 in NFKD), and the decomposed ones
    are the longest. A message's own JSON has more bytes than a chat template puts tokens around it; tools may
    be shown indented by four. 1024 is for what a template says by itself: a system prompt, how to call tools.
    Does not cover what the body only refers to (`output_count` tells), nor a template that says more.
    """
    return (
        max(len(body), _normalised_bytes(body, fields))
        + (_indents(fields.get("tools")) or 0)
        + _TEMPLATE_TOKENS
    )


def _normalised_bytes(body: bytes, fields: Mapping[str, Any]) -> int:
    """Of its text in the longest of the normal forms; 0 where all are as the body itself."""
    if body.isascii() and b"\\u" not in body:
        return 0
    text = json.dumps(fields, ensure_ascii=False)
    forms = (unicodedata.normalize("NFD", text), unicodedata.normalize("NFKD", text))
    return max(len(form.encode("utf-8", "surrogatepass")) for form in forms)


def _indents(tools: Any) -> int | None:
    """Blanks and line ends of tools with each value on a line of its own; None for too many to count."""
    blanks, counted, rest = 0, 0, [(tools, 1)] if tools else []
    while rest and counted <= _MOST_IN_TOOLS:
        value, depth = rest.pop()
        inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()
        blanks += (len(inner) + 1) * (2 + _INDENT * depth)
        counted += len(inner)
        rest += [(one, depth + 1) for one in inner[: _MOST_IN_TOOLS + 1]]
    return blanks if counted <= _MOST_IN_TOOLS else None


def output_count(path: UpstreamPath, body: Mapping[str, Any]) -> int | Absent:
    """How many answers a request asks for: 0 for embeddings, n times the prompts otherwise.

    Absent, with the reason, where the body may cost more than its own text and that many answers: pictures,
    files and conversations it refers to, tools that the upstream runs, fields nobody here knows.
    """
    reason = next(_hidden_costs(body), None)
    if reason is not None:
        return Absent(reason)
    if path == "embeddings":
        return 0
    counts = [body.get(field) or 1 for field in ("n", "best_of")]
    if not all(type(count) is int and 0 < count <= _MOST_OUTPUTS for count in counts):
        return Absent(f"n and best_of must be 1 to {_MOST_OUTPUTS}")
    return max(counts) * _n_prompts(body.get("prompt"))


def _n_prompts(prompt: Any) -> int:
    """A list holds prompts, or the tokens of one."""
    if not isinstance(prompt, list) or all(isinstance(part, int) for part in prompt):
        return 1
    return len(prompt)


def _hidden_costs(body: Mapping[str, Any]) -> Iterator[str]:
    for name in body.keys() - _FIELDS:
        yield f"the field {name[:40]!a} may cost more than can be told"
    if _indents(body.get("tools")) is None:
        yield f"its tools hold more than {_MOST_IN_TOOLS} values"
    for field in ("prompt", "tools", "messages", "input"):
        entries = body.get(field)
        if not isinstance(entries, str | list | None):
            yield f"{field} is no text and no list"
        for entry in entries if isinstance(entries, list) and field != "prompt" else ():
            yield from _tool_costs(entry) if field == "tools" else _message_costs(entry)


def _tool_costs(tool: Any) -> Iterator[str]:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        yield "it may use a tool that the upstream runs"


def _message_costs(message: Any) -> Iterator[str]:
    """Of a message or an item; an embedding's inputs are texts, tokens or lists of tokens."""
    if not isinstance(message, dict):
        if not isinstance(message, str | int | list):
            yield "a message is no object"
        return
    yield from (f"a message's {name[:40]!a} may refer to more" for name in message.keys() - _MESSAGE_FIELDS)
    if str(message.get("type", "message")) not in _TEXTS:
        yield f"an item of type {str(message['type'])[:40]!a} may refer to more"
    if "type" not in message and "role" not in message:
        yield "an item without a type may refer to more"
    for field in ("content", "output", "summary"):
        value = message.get(field)
        for part in value if isinstance(value, list) else [value]:
            yield from _part_costs(part)


def _part_costs(part: Any) -> Iterator[str]:
    """A part without a type may be a picture: servers guess by its fields."""
    if not isinstance(part, str | dict | None):
        yield "a message has a part that is no text"
    elif isinstance(part, dict) and str(part.get("type")) not in _TEXTS:
        yield f"a part of type {str(part.get('type'))[:40]!a} costs more than its bytes tell"
