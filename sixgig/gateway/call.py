"""A request as the gateway sees it: whose it is, which model it wants, how it is to be answered."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import Any, Literal

from sixgig.errors import UsageError

_MOST_DIGITS = 300  # as many as the largest float has: reading one takes the square of its digits
OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")

Api = Literal["openai", "anthropic", "responses", "ollama"]


@dataclass(frozen=True)
class Call:
    """path, body: what the engine is asked, JSON, untouched where the client speaks its language.

    model: as configured, or what was asked for where it is not here; asked: as the client called it.
    key: the API key's name, None without one. private_header: every value the client gave.
    """

    api: Api
    path: str
    body: bytes
    model: str
    stream: bool
    key: str | None = None
    private_header: tuple[str, ...] = ()
    keep_alive_s: float | None = None
    asked: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(12))

    @property
    def fields(self) -> dict[str, Any]:
        """The body read, and not kept: waiting in a queue its bytes take a tenth of the memory."""
        return parse_body(self.body)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def output_limit(fields: dict[str, Any]) -> int | None:
    """The answer's limit as asked; None where it was not, or makes no sense."""
    found = next((fields[name] for name in OUTPUT_LIMITS if fields.get(name) is not None), None)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def parse_body(body: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8. Raises UsageError for anything else.

    Python would read UTF-16 and UTF-32 as well, in which a byte of the body may be more than a byte of text,
    and numbers that JSON does not know.
    """
    try:
        document = json.loads(body.decode("utf-8-sig"), parse_constant=_no_number, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise UsageError("the body is no JSON in UTF-8", str(error)[:120], "send a JSON object") from error
    if not isinstance(document, dict):
        raise UsageError("the body is no JSON object", f"it is {type(document).__name__}", "send an object")
    return document


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits, {_MOST_DIGITS} possible")
    return int(digits)
