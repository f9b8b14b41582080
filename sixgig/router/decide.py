"""The decision: the request, the state here, the owner's rules and what was spent go in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sixgig.router.ask import Ask, LocalState
from sixgig.router.attempt import Attempt, Held, attempt
from sixgig.router.decision import Decision, Leave, Local, Refuse
from sixgig.router.routing import Routing
from sixgig.router.rule import Rule
from sixgig.router.spending import Spent


def decide(ask: Ask, local: LocalState, routing: Routing, spent: Spent) -> Decision:
    """Of the rules that apply now, the first in the file whose upstream may, can and is affordable, or here.

    Nothing is reserved: the ledger reserves `worst_case_micros` before an attempt is sent, and may refuse.
    """
    search = _Search(ask, routing, spent)
    now = search.first(lambda rule: _applies_now(rule, ask, local))
    if now:
        return Leave(f"{now.title}: sent to {now.attempt.upstream.name}", now.attempt, search.notes)
    if local.failed:
        cure = "try again; the server's log has the cause"
        return Refuse("the model failed before its first token", 503, cure, search.notes)
    return _staying(search) if local.known else _refusal(search)


def needs_count(ask: Ask, local: LocalState, routing: Routing) -> bool:
    """Would counting the prompt's tokens decide a rule? By its bytes alone none leaves for want of room."""
    if ask.prompt_tokens is not None or not local.known or local.context_tokens is None:
        return False
    if ask.prompt_tokens_at_most < local.context_tokens:
        return False
    return any(rule.when == "context_overflow" and rule.concerns(ask.model) for rule in routing.rules)


@dataclass(frozen=True)
class _Found:
    title: str
    rule: Rule
    attempt: Attempt


@dataclass
class _Search:
    """Goes through the rules for one request and keeps what held each back."""

    ask: Ask
    routing: Routing
    spent: Spent
    held: dict[str, Held] = field(default_factory=dict)

    def first(self, applies: Callable[[Rule], bool]) -> _Found | None:
        """The first rule in the file that applies and whose upstream may and can take the request."""
        for number, rule in enumerate(self.routing.rules, 1):
            if not (rule.concerns(self.ask.model) and applies(rule)):
                continue
            upstream, title = self.routing.upstream(rule.upstream), f"rule {number} ({rule})"
            found = attempt(self.ask, upstream, self.routing.spending, self.spent)
            if isinstance(found, Attempt):
                return _Found(title, rule, found)
            self.held[title] = found
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(f"{title}: {held.reason}" for title, held in self.held.items())


def _applies_now(rule: Rule, ask: Ask, local: LocalState) -> bool:
    if not local.known:
        return rule.when == "model_missing"
    if rule.when == "context_overflow":
        return _overflows(ask.prompt_tokens, local.context_tokens)
    if rule.when == "queue_longer_than":
        return rule.value is not None and local.queue_length > rule.value
    return local.failed and _is_failure_rule(rule)


def _overflows(prompt_tokens: int | None, context_tokens: int | None) -> bool:
    """No room for one token of an answer; what was not counted is tried here first."""
    return prompt_tokens is not None and context_tokens is not None and prompt_tokens >= context_tokens


def _is_slow_rule(rule: Rule) -> bool:
    return rule.when == "first_token_slower_than"


def _is_failure_rule(rule: Rule) -> bool:
    """A model that failed has no first token in time either."""
    return rule.when in ("first_token_slower_than", "local_failed_before_first_token")


def _staying(search: _Search) -> Local:
    slow, failure = search.first(_is_slow_rule), search.first(_is_failure_rule)
    reason = "answered here"
    if slow:
        reason += f"; {slow.title}: else by {slow.attempt.upstream.name}"
    if failure and failure != slow:
        reason += f"; {failure.title}: else by {failure.attempt.upstream.name}"
    return Local(
        reason,
        on_slow=slow.attempt if slow else None,
        after_s=slow.rule.value if slow else None,
        on_failure=failure.attempt if failure else None,
        notes=search.notes,
    )


def _refusal(search: _Search) -> Refuse:
    """What held the first rule back decides the status: a model that is elsewhere is not simply not found."""
    missing = f"the model {search.ask.model[:60]!a} is not here"
    by = next(iter(search.held.values())).by if search.held else "upstream"
    if by == "privacy":
        return Refuse(f"{missing} and the request is private", 403, "name a model that is here", search.notes)
    if by == "spending":
        cure = "raise the cap under [spending], or wait"
        return Refuse(f"{missing} and the spending cap is reached", 402, cure, search.notes)
    return Refuse(missing, 404, "name a model that GET /v1/models lists", search.notes)
