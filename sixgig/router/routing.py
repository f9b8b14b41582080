"""Upstreams, rules and caps together, and what must agree between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sixgig.router.rule import Rule
from sixgig.router.spending import Spending
from sixgig.router.upstream import ANY, Upstream


class Routing(BaseModel):
    """What of the configuration may send a request away. Without an upstream and a rule nothing leaves.

    Where the parts disagree, the one error has a line for each fault: "place: what; the numbers; the cure".
    """

    # A key written into the wrong field must not come back in an error; the outermost model decides that.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    upstreams: tuple[Upstream, ...] = Field(default=(), strict=False)
    rules: tuple[Rule, ...] = Field(default=(), strict=False)
    spending: Spending = Spending()

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if faults := list(_faults(self)):
            raise ValueError("\n".join(faults))
        return self

    def upstream(self, name: str) -> Upstream:
        """The upstream of that name; every rule's exists."""
        return next(upstream for upstream in self.upstreams if upstream.name == name)


def _faults(routing: Routing) -> Iterator[str]:
    yield from _repeated_names(routing)
    for index, rule in enumerate(routing.rules):
        yield from _rule_faults(routing, rule, f"rules[{index}]")
    priced = [upstream.name for upstream in routing.upstreams if upstream.has_price]
    if priced and not routing.spending.capped:
        yield (
            f"spending: no cap is set, and {', '.join(priced)} costs money; "
            "write per_day or per_month under [spending]"
        )


def _repeated_names(routing: Routing) -> Iterator[str]:
    """Case aside: names that differ in it only are taken for one another by people."""
    counts = Counter(upstream.name.casefold() for upstream in routing.upstreams)
    for name, count in counts.items():
        if count > 1:
            yield f"upstreams: {count} are named {name!r}; give each a name of its own"


def _rule_faults(routing: Routing, rule: Rule, place: str) -> Iterator[str]:
    named = [upstream for upstream in routing.upstreams if upstream.name == rule.upstream]
    if not named:
        there = ", ".join(upstream.name for upstream in routing.upstreams) or "none"
        what = f"there is no upstream {rule.upstream[:64]!a}"
        yield f"{place}.upstream: {what}; configured: {there}; name one of them"
        return
    for pattern in rule.models:
        if not _may_serve(named[0], pattern):
            yield (
                f"{place}.models: {rule.upstream} serves no model {pattern[:64]!a}; "
                f"it serves {', '.join(map(ascii, named[0].models))}; add it to the upstream's models"
            )


def _may_serve(upstream: Upstream, pattern: str) -> bool:
    only = Rule(when="model_missing", models=(pattern,), upstream=upstream.name)
    return any(name == ANY or only.concerns(name) for name in upstream.models)
