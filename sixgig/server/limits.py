"""What a request may ask of an engine here: fields by which one request could pass the memory budget.

The engine allocates what these say, for each request and outside any plan (measured: LOG.md).
"""

from __future__ import annotations

from sixgig.engines import ModelCard
from sixgig.errors import UsageError
from sixgig.server.call import Call

MOST_LAST_N = 65_536  # four bytes each: tokens looked back at for repetition
MOST_PROBABILITIES = 8_192  # of one answer that is no stream: about 125 bytes each
MOST_BYTES_PER_TOKEN = 64  # of a prompt, before it is refused unread
_LAST_N = ("repeat_last_n", "dry_penalty_last_n")
_PROBABILITIES = ("n_probs", "top_logprobs", "logprobs")


def check_limits(call: Call, card: ModelCard) -> None:
    """Raises UsageError for what could take more memory than was planned."""
    for name in _LAST_N:
        if _number(call.fields.get(name)) > MOST_LAST_N:
            what = f"{name} of {call.fields[name]} is too large"
            raise UsageError(what, f"at most {MOST_LAST_N}", "lower it")
    _check_probabilities(call, card)
    _check_length(call, card)


def _check_probabilities(call: Call, card: ModelCard) -> None:
    """A stream passes them on as they come; a whole answer holds them all."""
    each = max(_number(call.fields.get(name)) for name in _PROBABILITIES)
    tokens = min(call.max_tokens or card.context, card.context)
    if not call.stream and each * tokens > MOST_PROBABILITIES:
        numbers = f"{each} for each of up to {tokens} tokens, at most {MOST_PROBABILITIES} in one answer"
        raise UsageError("too many log-probabilities", numbers, "lower max_tokens, or ask for a stream")


def _check_length(call: Call, card: ModelCard) -> None:
    most = card.context * MOST_BYTES_PER_TOKEN
    if not call.path.endswith("/embeddings") and len(call.body) > most:
        numbers = f"{len(call.body)} bytes for a context of {card.context} tokens"
        raise UsageError("the request is longer than the model's context", numbers, "shorten it")


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
