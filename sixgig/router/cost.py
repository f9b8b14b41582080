"""What an answer from an upstream did cost."""

from __future__ import annotations

from dataclasses import dataclass

from sixgig.router.attempt import Attempt

_MOST_TOKENS = 10**9  # a report beyond is a mistake, not an answer


@dataclass(frozen=True)
class Cost:
    """Micro-units to be put down. remark: why they are not simply what was reported, "" where they are."""

    micros: int
    remark: str = ""


def cost(attempt: Attempt, usage: object) -> Cost:
    """From the "usage" of the upstream's answer, whatever stands there; None where it sent none.

    Absent or nonsense: the worst case counts. More than the worst case: it counts as reported, with a remark.
    Cached input counts in full.
    """
    name, worst_micros = attempt.upstream.name, attempt.worst_case_micros
    tokens = _tokens(usage)
    if tokens is None:
        return Cost(worst_micros, f"{name} reported no sensible usage: the worst case counts")
    micros = attempt.upstream.micros(*tokens)
    over = f"{name} reported more than the worst case of {worst_micros} micro-units"
    return Cost(micros, over if micros > worst_micros else "")


def _tokens(usage: object) -> tuple[int, int] | None:
    """(input, output) as chat completions, embeddings and responses name them; None for nonsense.

    Some report the tokens of thinking in the total alone: what is neither input nor output counts as output.
    """
    if not isinstance(usage, dict):
        return None
    n_input = usage.get("prompt_tokens", usage.get("input_tokens"))
    total = usage.get("total_tokens", n_input)
    n_output = usage.get("completion_tokens", usage.get("output_tokens"))
    if n_output is None and "total_tokens" in usage:
        n_output = 0  # embeddings
    if not all(type(count) is int and 0 <= count <= _MOST_TOKENS for count in (n_input, n_output, total)):
        return None
    return (n_input, max(n_output, total - n_input)) if n_input else None
