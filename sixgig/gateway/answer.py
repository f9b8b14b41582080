"""What comes back for a call, from the engine or from an upstream: a status, then bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sixgig.errors import BudgetError, PurposeError, ServingError, SixgigError, UsageError

STREAM = "text/event-stream"


class StreamBrokenError(ServingError):
    """An answer ended before its end, after its first byte was passed on. reason: what is known of why."""

    def __init__(self, reason: SixgigError) -> None:
        super().__init__(reason.what, reason.numbers, reason.cure)
        self.reason = reason


class RefusedError(ServingError):
    """Nobody will answer this request; status: HTTP's. told: OpenAI's fields of the error, where another
    server refused it.
    """

    def __init__(
        self, status: int, what: str, numbers: str = "", cure: str = "", told: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(what, numbers, cure)
        self.status, self.told = status, told or {}


class TooLongError(UsageError):
    """A prompt that is longer than the model's context, in the engine's words, which clients look for.

    n_prompt_tokens: it has so many or more.
    """

    def __init__(self, n_prompt_tokens: int, n_context: int, numbers: str) -> None:
        what = f"request ({n_prompt_tokens} tokens) exceeds the available context size ({n_context} tokens)"
        super().__init__(what, numbers, "shorten it")
        self.n_prompt_tokens, self.n_context = n_prompt_tokens, n_context


@dataclass
class Answer:
    """served_by: LOCAL or the upstream's name. notes: why it did not leave, or did. headers: for the client.
    body: the bytes as they come; raises StreamBrokenError where they end too soon.
    """

    status: int
    content_type: str
    served_by: str
    body: AsyncIterator[bytes]
    notes: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def streamed(self) -> bool:
        """Whether its end is not known yet when it begins."""
        return self.content_type.startswith(STREAM)


def status_of(error: SixgigError) -> int:
    """HTTP's status: 4xx is the client's fault, 503 passes, 507 needs another budget, 500 is ours."""
    if isinstance(error, StreamBrokenError):
        return status_of(error.reason)
    if isinstance(error, RefusedError):
        return error.status
    if isinstance(error, UsageError | PurposeError):
        return 400
    if isinstance(error, ServingError):
        return 503
    return 507 if isinstance(error, BudgetError) else 500
