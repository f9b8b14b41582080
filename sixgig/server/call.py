"""A request as the gateway sees it: whose it is, which model it wants, how it is to be answered."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import Any, Literal

from sixgig.errors import UsageError

OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
# The engine sets memory aside for so many tokens, and for each text: outside of its budget.
WINDOWS, LONGEST_WINDOW = ("repeat_last_n", "dry_penalty_last_n"), 1 << 16
TEXTS, MOST_TEXTS = ("prompt", "input", "content"), 2048

Api = Literal["openai", "anthropic", "responses", "ollama"]


@dataclass(frozen=True)
class Call:
    """path, body: what the engine is asked, untouched where the client speaks its language. fields: the body
    as JSON. key: the API key's name, None without one. private_header: every value the client gave.
    """

    api: Api
    path: str
    body: bytes
    fields: dict[str, Any]
    model: str
    stream: bool
    key: str | None = None
    private_header: tuple[str, ...] = ()
    keep_alive_s: float | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(12))

    @property
    def max_tokens(self) -> int | None:
        """The answer's limit as asked; None where it was not, or makes no sense."""
        found = next((self.fields[name] for name in OUTPUT_LIMITS if self.fields.get(name) is not None), None)
        return found if isinstance(found, int) and not isinstance(found, bool) else None


def parse_body(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises UsageError for anything else."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError("the body is no JSON", str(error)[:120], "send a JSON object") from error
    if not isinstance(document, dict):
        raise UsageError("the body is no JSON object", f"it is {type(document).__name__}", "send an object")
    return document


def check_bounds(api: Api, fields: dict[str, Any]) -> None:
    """Raises UsageError for what would take memory that no budget counts."""
    for name in WINDOWS:
        window = fields.get(name)
        if isinstance(window, int | float) and window > LONGEST_WINDOW:
            raise UsageError(f"{name} is too large", f"{window} asked, {LONGEST_WINDOW} possible", "lower it")
    for name in TEXTS if api == "openai" else ():
        texts = fields.get(name)
        if isinstance(texts, list) and sum(not isinstance(text, int) for text in texts) > MOST_TEXTS:
            numbers = f"{len(texts)} in {name}, {MOST_TEXTS} possible"
            raise UsageError("too many texts for one request", numbers, "send several requests")
