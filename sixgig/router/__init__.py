"""Who answers a request: this machine first, an upstream only by rule, permit and within a cap. Pure."""

from sixgig.router.ask import Ask, LocalState
from sixgig.router.attempt import Attempt
from sixgig.router.bounds import UPSTREAM_PATHS, UpstreamPath, output_count, upper_bound_tokens
from sixgig.router.cost import Cost, cost
from sixgig.router.decide import decide, needs_count
from sixgig.router.decision import Decision, Leave, Local, Refuse
from sixgig.router.gate import HEADER, Gate, Permit, Private, is_permitted
from sixgig.router.routing import Routing
from sixgig.router.rule import Condition, Rule
from sixgig.router.spending import Spending, Spent, format_micros
from sixgig.router.upstream import Upstream

__all__ = [
    "HEADER",
    "UPSTREAM_PATHS",
    "Ask",
    "Attempt",
    "Condition",
    "Cost",
    "Decision",
    "Gate",
    "Leave",
    "Local",
    "LocalState",
    "Permit",
    "Private",
    "Refuse",
    "Routing",
    "Rule",
    "Spending",
    "Spent",
    "Upstream",
    "UpstreamPath",
    "cost",
    "decide",
    "format_micros",
    "is_permitted",
    "needs_count",
    "output_count",
    "upper_bound_tokens",
]
