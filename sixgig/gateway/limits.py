"""What a request may ask of an engine here: fields by which one request could pass the memory budget.

The engine allocates what these say, for each request and outside any plan (measured: LOG.md). And one that is
the server's to choose: which slot answers.
"""

from __future__ import annotations

from typing import Any

from sixgig.engines import ModelCard
from sixgig.errors import UsageError
from sixgig.gateway.answer import TooLongError
from sixgig.gateway.call import Call, output_limit

LONGEST_WINDOW = 65_536  # four bytes each: tokens looked back at for repetition
_MOST_NUMBER = 2**31 - 1  # as the engine keeps them
MOST_TEXTS = 2_048  # about 10 KB each
MOST_PROBABILITIES = 8_192  # of one answer that is no stream: about 125 bytes each
MOST_BYTES_PER_TOKEN = 64  # of a prompt, before it is refused unread
_WINDOWS = ("repeat_last_n", "dry_penalty_last_n")
_TEXTS = {"/v1/completions": "prompt", "/v1/embeddings": "input"}
_TRIGGERS = ("grammar_triggers", "grammar_lazy")  # regular expressions, which the engine may run for ever
_PROBABILITIES = ("n_probs", "top_logprobs", "logprobs")
_ANY_SLOT = -1
Fields = dict[str, Any]


def check_limits(call: Call, card: ModelCard) -> Fields:
    """The call's fields. Raises UsageError for what could take more memory than was planned.

    Does not cover grammars and schemas, which are tried (gateway.grammars).
    """
    _check_length(call, card)
    fields = call.fields
    _check_numbers(fields)
    _check_slot(fields)
    _check_windows(fields)
    _check_texts(call.path, fields)
    _check_triggers(fields)
    if not call.stream:
        _check_probabilities(fields, card)
    return fields


def _check_length(call: Call, card: ModelCard) -> None:
    most = card.context * MOST_BYTES_PER_TOKEN
    if not call.path.endswith("/embeddings") and len(call.body) > most:
        at_least = len(call.body) // MOST_BYTES_PER_TOKEN
        raise TooLongError(at_least, card.context, f"it has {len(call.body)} bytes")


def _check_numbers(fields: Fields) -> None:
    """The engine takes 32 bits of a whole number, whatever is left then; a seed has as many."""
    for name, value in fields.items():
        if isinstance(value, int) and not -_MOST_NUMBER <= value <= _MOST_NUMBER and name != "seed":
            raise UsageError(f"{name[:80]} is too large", f"at most {_MOST_NUMBER}", "lower it")


def _check_slot(fields: Fields) -> None:
    if fields.get("id_slot", _ANY_SLOT) not in (None, _ANY_SLOT):
        raise UsageError("id_slot is the server's to choose", cure="leave it out")


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


def _check_triggers(fields: Fields) -> None:
    for name in _TRIGGERS:
        if fields.get(name):
            raise UsageError(f"{name} is for the engine itself to set", cure="leave it out")


def _check_probabilities(fields: Fields, card: ModelCard) -> None:
    """Of an answer that is no stream: it holds them all."""
    each = max(_number(fields.get(name)) for name in _PROBABILITIES)
    tokens = min(output_limit(fields) or card.context, card.context)
    if each * tokens > MOST_PROBABILITIES:
        numbers = f"{each:g} for each of up to {tokens} tokens, at most {MOST_PROBABILITIES} in one answer"
        raise UsageError("too many log-probabilities", numbers, "lower max_tokens, or ask for a stream")


def _number(value: object) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0
