"""What a request may ask of an engine here: fields by which one request could pass the memory budget.

The engine allocates what these say, for each request and outside any plan (measured: LOG.md).
"""

from __future__ import annotations

import json
import re
from typing import Any

from sixgig.engines import ModelCard
from sixgig.errors import UsageError
from sixgig.gateway.answer import TooLongError
from sixgig.gateway.call import Call, output_limit

LONGEST_WINDOW = 65_536  # four bytes each: tokens looked back at for repetition
MOST_TEXTS = 2_048  # about 10 KB each
MOST_PROBABILITIES = 8_192  # of one answer that is no stream: about 125 bytes each
MOST_BYTES_PER_TOKEN = 64  # of a prompt, before it is refused unread
LONGEST_GRAMMAR, MOST_REPEATS, LONGEST_REPEAT = 32_768, 4_096, 1_024  # each repeat becomes a rule of its own
_GRAMMARS, _WITH_SCHEMAS = ("grammar", "json_schema", "response_format"), ("tools", "text")
# A schema's bounds, and the {n,m} of a grammar or of a schema's pattern.
_REPEATS = re.compile(r'"(?:min|max)(?:Length|Items)": (\d+)|\{ *(\d*) *(?:, *(\d*) *)?\}')
_WINDOWS = ("repeat_last_n", "dry_penalty_last_n")
_TEXTS = {"/v1/completions": "prompt", "/v1/embeddings": "input"}
_PROBABILITIES = ("n_probs", "top_logprobs", "logprobs")
Fields = dict[str, Any]


def check_limits(call: Call, card: ModelCard) -> None:
    """Raises UsageError for what could take more memory than was planned."""
    _check_length(call, card)
    fields = call.fields
    _check_windows(fields)
    _check_texts(call.path, fields)
    _check_grammars(fields)
    if not call.stream:
        _check_probabilities(fields, card)


def _check_length(call: Call, card: ModelCard) -> None:
    most = card.context * MOST_BYTES_PER_TOKEN
    if not call.path.endswith("/embeddings") and len(call.body) > most:
        at_least = len(call.body) // MOST_BYTES_PER_TOKEN
        raise TooLongError(at_least, card.context, f"it has {len(call.body)} bytes")


def _check_windows(fields: Fields) -> None:
    for name in _WINDOWS:
        if _number(fields.get(name)) > LONGEST_WINDOW:
            numbers = f"{fields[name]} asked, {LONGEST_WINDOW} possible"
            raise UsageError(f"{name} is too large", numbers, "lower it")


def _check_texts(path: str, fields: Fields) -> None:
    """A list of numbers is one text, already in tokens."""
    texts = fields.get(_TEXTS.get(path, ""))
    if isinstance(texts, list) and sum(not isinstance(text, int) for text in texts) > MOST_TEXTS:
        numbers = f"{len(texts)} asked, {MOST_TEXTS} possible"
        raise UsageError("too many texts for one request", numbers, "send several requests")


def _check_grammars(fields: Fields) -> None:
    """What the engine makes a grammar of: its size, and how often it lets something be repeated."""
    for name in (*_GRAMMARS, *_WITH_SCHEMAS):
        given = fields.get(name)
        text = given if isinstance(given, str) else json.dumps(given)
        if name in _GRAMMARS and len(text) > LONGEST_GRAMMAR:
            numbers = f"{len(text)} characters, {LONGEST_GRAMMAR} possible"
            raise UsageError(f"{name} is too long", numbers, "make it simpler")
        repeats = _repeats(text)
        if sum(repeats) > MOST_REPEATS or max(repeats, default=0) > LONGEST_REPEAT:
            numbers = f"at most {LONGEST_REPEAT} of one thing, {MOST_REPEATS} in all"
            raise UsageError(
                f"{name} lets too much be repeated", numbers, "leave lengths open, or lower them"
            )


def _repeats(text: str) -> list[int]:
    """Every count; of one with very many digits the first are enough to be too many."""
    return [int(count[:9]) for counts in _REPEATS.findall(text) for count in counts if count]


def _check_probabilities(fields: Fields, card: ModelCard) -> None:
    """Of an answer that is no stream: it holds them all."""
    each = max(_number(fields.get(name)) for name in _PROBABILITIES)
    tokens = min(output_limit(fields) or card.context, card.context)
    if each * tokens > MOST_PROBABILITIES:
        numbers = f"{each:g} for each of up to {tokens} tokens, at most {MOST_PROBABILITIES} in one answer"
        raise UsageError("too many log-probabilities", numbers, "lower max_tokens, or ask for a stream")


def _number(value: object) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0
