"""One request on its way to one upstream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sixgig.hardware.machine import Absent
from sixgig.router.ask import Ask
from sixgig.router.bounds import UPSTREAM_PATHS
from sixgig.router.gate import Permit, Private, is_permitted
from sixgig.router.spending import Spending, Spent
from sixgig.router.upstream import Upstream


@dataclass(frozen=True)
class Attempt:
    """model: the upstream's name for it. max_output_tokens: to be written into the request that is sent.
    worst_case_micros: micro-units, rounded up, to be reserved before it is sent. again: the same upstream was
    asked before, and that may have cost as much.

    Raises ValueError without the permit of this very request.
    """

    request_id: str
    upstream: Upstream
    model: str
    max_output_tokens: int
    worst_case_micros: int
    permit: Permit = field(repr=False)
    again: bool = False

    def __post_init__(self) -> None:
        if not is_permitted(self.permit, self.request_id):
            raise ValueError(f"request {self.request_id!a} has no permit to leave")


@dataclass(frozen=True)
class Held:
    """Stands where there is no attempt: by what it was held back, and why."""

    by: Literal["privacy", "spending", "upstream"]
    reason: str


def attempt(ask: Ask, upstream: Upstream, spending: Spending, spent: Spent) -> Attempt | Held:
    """`ask` sent to `upstream`, if it may be, the upstream can take it, and no cap is passed."""
    if isinstance(ask.permit, Private):
        return Held("privacy", f"private: {ask.permit.reason}")
    if not is_permitted(ask.permit, ask.request_id):
        return Held("privacy", "private: the permit is not this request's")
    model = upstream.model_for(ask.model)
    if model is None:
        return Held("upstream", f"{upstream.name} does not serve {ask.model[:60]!a}")
    if misfit := _misfit(ask, upstream):
        return Held("upstream", misfit)
    max_output_tokens = _max_output_tokens(ask, upstream)
    worst_micros = _worst_case_micros(ask, upstream, max_output_tokens)
    if obstacle := spending.obstacle(spent, worst_micros):
        return Held("spending", obstacle)
    return Attempt(ask.request_id, upstream, model, max_output_tokens, worst_micros, ask.permit)


def _misfit(ask: Ask, upstream: Upstream) -> str | None:
    """Why this upstream cannot take the request at all."""
    if isinstance(ask.upstream_path, Absent):
        return ask.upstream_path.reason
    if ask.upstream_path not in UPSTREAM_PATHS:
        return f"no upstream has the endpoint {ask.upstream_path[:60]!a}"
    if isinstance(ask.outputs, Absent) and upstream.has_price:
        return f"its cost has no bound: {ask.outputs.reason}"
    if (
        upstream.context is not None
        and ask.prompt_tokens is not None
        and ask.prompt_tokens >= upstream.context
    ):
        n_tokens, context = ask.prompt_tokens, upstream.context
        return f"{n_tokens} tokens of prompt leave no room in {upstream.name}'s context of {context}"
    return None


def _max_output_tokens(ask: Ask, upstream: Upstream) -> int:
    """As asked, within the owner's limit and what the context leaves; 0 and -1 ask for no limit."""
    limits = [upstream.max_output_tokens]
    if ask.max_tokens is not None and ask.max_tokens > 0:
        limits.append(ask.max_tokens)
    if upstream.context is not None and ask.prompt_tokens is not None:
        limits.append(upstream.context - ask.prompt_tokens)
    return min(limits)


def _worst_case_micros(ask: Ask, upstream: Upstream, max_output_tokens: int) -> int:
    """What has no bound goes to upstreams without a price only."""
    n_outputs = 0 if isinstance(ask.outputs, Absent) else ask.outputs
    return upstream.micros(ask.prompt_tokens_at_most, n_outputs * max_output_tokens)
