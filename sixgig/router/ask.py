"""A request, as far as who answers it depends on it, and the state of the model here."""

from __future__ import annotations

from dataclasses import dataclass

from sixgig.hardware.machine import Absent
from sixgig.router.bounds import UpstreamPath
from sixgig.router.gate import Permit, Private


@dataclass(frozen=True)
class Ask:
    """upstream_path: the endpoint, or why no upstream has it in this shape.

    prompt_tokens_at_most: by `upper_bound_tokens`. outputs: by `output_count`. max_tokens: as asked for.
    prompt_tokens: counted by the local model, None before it was.
    """

    request_id: str
    model: str
    upstream_path: UpstreamPath | Absent
    prompt_tokens_at_most: int
    outputs: int | Absent
    max_tokens: int | None
    permit: Permit | Private
    prompt_tokens: int | None = None


@dataclass(frozen=True)
class LocalState:
    """known: the model is here. context_tokens: for one request, None where it is not known yet.

    queue_length: requests that wait for it. failed: it failed this request before the first token.
    """

    known: bool
    context_tokens: int | None = None
    queue_length: int = 0
    failed: bool = False
