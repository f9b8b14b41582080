"""No decision passes a cap, and no honest answer costs more than was reserved for it."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sixgig.router import (
    Ask,
    Attempt,
    Leave,
    LocalState,
    Routing,
    Spending,
    Spent,
    cost,
    decide,
    format_micros,
)
from tests.serve.test_router_decide import (
    ASKS,
    NOTHING,
    PRICES,
    SPENT,
    STATES,
    asking,
    attempts,
    routing,
    routings,
    rule,
    upstream,
)


def sent(ask: Ask, **prices: Any) -> Attempt:
    configured = routing(rule("model_missing"), upstreams=(upstream(**prices),), per_day=10**9)
    decision = decide(ask, LocalState(False), configured, NOTHING)
    assert isinstance(decision, Leave)
    return decision.attempt


@given(ASKS, STATES, routings(), SPENT)
def test_no_decision_passes_a_cap(ask: Ask, state: LocalState, configured: Routing, spent: Spent) -> None:
    caps = configured.spending.per_day, configured.spending.per_month
    for attempt in attempts(decide(ask, state, configured, spent)):
        worst_micros = attempt.worst_case_micros
        for cap, used_micros in zip(caps, (spent.day_micros, spent.month_micros), strict=True):
            assert cap is None or worst_micros == 0 or used_micros + worst_micros <= Fraction(cap) * 10**6


@given(st.lists(st.integers(1, 5000), max_size=30), st.integers(0, 20000))
def test_reserving_each_worst_case_keeps_the_cap_for_a_whole_day(prompts: list[int], cap_micros: int) -> None:
    cap = {"per_day": format_micros(cap_micros)}
    configured = routing(rule("model_missing"), upstreams=(upstream(input_price=1, output_price=3),), **cap)
    reserved_micros = 0
    for n_tokens in prompts:
        ask = asking(prompt_tokens_at_most=n_tokens, max_tokens=100)
        decision = decide(ask, LocalState(False), configured, Spent(reserved_micros, 0))
        reserved_micros += sum(attempt.worst_case_micros for attempt in attempts(decision))
        assert reserved_micros <= cap_micros
        assert isinstance(decision, Leave) or reserved_micros + n_tokens + 300 > cap_micros


@given(PRICES, PRICES, st.integers(1, 10**6), st.integers(0, 4), st.integers(1, 9000), st.data())
def test_the_worst_case_is_an_upper_bound(
    input_price: Any, output_price: Any, at_most: int, outputs: int, asked: int, data: st.DataObject
) -> None:
    ask = asking(prompt_tokens_at_most=at_most, outputs=outputs, max_tokens=asked)
    attempt = sent(ask, input_price=input_price, output_price=output_price)
    n_input = data.draw(st.integers(1, at_most))
    n_output = data.draw(st.integers(0, outputs * attempt.max_output_tokens))
    found = cost(attempt, {"prompt_tokens": n_input, "completion_tokens": n_output})
    exact = n_input * Fraction(input_price) + n_output * Fraction(output_price)
    assert exact <= found.micros <= attempt.worst_case_micros and found.micros < exact + 1
    assert found.remark == ""


@pytest.mark.parametrize(
    ("usage", "micros"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, 20 + 15),
        ({"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}, 20 + 15),
        ({"prompt_tokens": 10, "total_tokens": 10}, 20),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 25}, 20 + 45),
        ({"prompt_tokens": 1, "completion_tokens": 0}, 2),
    ],
)
def test_usage_is_read_as_each_endpoint_writes_it(usage: object, micros: int) -> None:
    assert cost(sent(asking(), input_price=2, output_price=3), usage).micros == micros


NONSENSE: list[object] = [
    None, [], 7, "usage", {}, {"prompt_tokens": 10}, {"completion_tokens": 10},
    {"prompt_tokens": -1, "completion_tokens": 5}, {"prompt_tokens": 10, "completion_tokens": -5},
    {"prompt_tokens": 0, "completion_tokens": 5}, {"prompt_tokens": True, "completion_tokens": 5},
    {"prompt_tokens": 1.5, "completion_tokens": 5}, {"prompt_tokens": "10", "completion_tokens": 5},
    {"prompt_tokens": None, "completion_tokens": None}, {"prompt_tokens": 10**10, "completion_tokens": 5},
    {"prompt_tokens": 10, "completion_tokens": float("nan")},
    {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": None},
]  # fmt: skip


@pytest.mark.parametrize("usage", NONSENSE)
def test_absent_or_nonsensical_usage_counts_as_the_worst_case(usage: object) -> None:
    attempt = sent(asking(), input_price=2, output_price=3)
    found = cost(attempt, usage)
    assert found.micros == attempt.worst_case_micros and "the worst case counts" in found.remark


def test_more_than_the_worst_case_counts_as_reported_and_is_remarked() -> None:
    attempt = sent(asking(max_tokens=1), input_price=1, output_price=1)
    found = cost(attempt, {"prompt_tokens": 2000, "completion_tokens": 2})
    assert found.micros == attempt.worst_case_micros + 1 and "more than the worst case" in found.remark


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
NAMES = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens")


@given(JSON | st.dictionaries(st.sampled_from(NAMES), JSON))
def test_no_usage_costs_less_than_nothing_or_more_than_can_be_stored(usage: object) -> None:
    attempt = sent(asking(), input_price="0.000000000001", output_price="999999999")
    assert 0 <= cost(attempt, usage).micros < 2**63


def test_a_price_for_a_million_is_exact() -> None:
    assert sent(asking(prompt_tokens_at_most=3), input_price=0.1, output_price=0).worst_case_micros == 1
    million = sent(asking(prompt_tokens_at_most=10**6, outputs=0), input_price="2.50", output_price=0)
    assert million.worst_case_micros == 2_500_000


@pytest.mark.parametrize(
    ("cap", "micros"), [(5, 5_000_000), (0.1, 100_000), ("0.0000019", 1), (Decimal("1e-7"), 0)]
)
def test_a_cap_is_rounded_down(cap: Any, micros: int) -> None:
    spending = Spending.model_validate({"per_day": cap, "per_month": cap})
    assert spending.per_day_micros == spending.per_month_micros == micros
    assert spending.obstacle(NOTHING, micros) is None and spending.obstacle(NOTHING, micros + 1)


def test_each_cap_counts_for_itself() -> None:
    spending = Spending(per_day=Decimal(2), per_month=Decimal(3))
    assert "per_day" in (spending.obstacle(Spent(1_500_000, 0), 500_001) or "")
    assert "per_month" in (spending.obstacle(Spent(0, 2_500_000), 500_001) or "")
    assert spending.obstacle(Spent(1_500_000, 2_500_000), 500_000) is None


def test_a_free_upstream_serves_when_the_cap_is_used_up() -> None:
    configured = routing(rule("model_missing"), per_day=0)
    assert isinstance(decide(asking(), LocalState(False), configured, Spent(9, 9)), Leave)


@given(st.integers(-(10**15), 10**15))
def test_amounts_are_written_exactly(micros: int) -> None:
    assume(micros != 0)
    assert Decimal(format_micros(micros)) * 10**6 == micros
