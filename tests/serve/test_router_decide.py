"""Rules in their order, what keeps a request here, and the words for it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.hardware.machine import Absent
from sixgig.router import (
    Ask,
    Attempt,
    Gate,
    Leave,
    Local,
    LocalState,
    Permit,
    Private,
    Refuse,
    Routing,
    Spent,
    decide,
    needs_count,
)

OPEN = Gate(private_by_default=False, private_models=frozenset(), keys={})
NOTHING = Spent(0, 0)
MODELS = ("qwen3", "llama:8b", "other")
CONDITIONS = (
    "model_missing",
    "context_overflow",
    "queue_longer_than",
    "first_token_slower_than",
    "local_failed_before_first_token",
)
PRICES = st.integers(0, 3) | st.decimals(0, 50, places=4)


def permit(request_id: str = "r1") -> Permit:
    issued = OPEN.check(request_id, ("qwen3",), None, ())
    assert isinstance(issued, Permit)
    return issued


def asking(**changes: Any) -> Ask:
    return replace(Ask("r1", "qwen3", "chat/completions", 2000, 1, None, permit()), **changes)


def upstream(name: str = "vllm", **changes: Any) -> dict[str, Any]:
    priced = {"input_price": 0, "output_price": 0}
    return {"name": name, "base_url": "http://10.0.0.5:8000", "models": {"*": "*"}, **priced, **changes}


def rule(when: str, value: float | None = None, **changes: Any) -> dict[str, Any]:
    valued = {} if value is None else {"value": value}
    return {"when": when, "upstream": "vllm", **valued, **changes}


def routing(*rules: dict[str, Any], upstreams: Any = None, **spending: Any) -> Routing:
    there = [upstream()] if upstreams is None else list(upstreams)
    return Routing.model_validate({"upstreams": there, "rules": list(rules), "spending": spending})


def attempts(decision: Any) -> list[Attempt]:
    """Every attempt a decision carries, in whichever field."""
    return [value for value in vars(decision).values() if isinstance(value, Attempt)]


@st.composite
def routings(draw: st.DrawFn) -> Routing:
    """Any configuration that is accepted."""
    served = st.sampled_from(({"*": "*"}, {"qwen3": "Q"}, {"llama:8b": "L", "qwen3": "Q"}))
    upstreams = [
        upstream(
            name, models=draw(served), input_price=draw(PRICES), output_price=draw(PRICES),
            max_output_tokens=draw(st.integers(1, 9000)), context=draw(st.none() | st.integers(2, 9000)),
        )
        for name in "abc"
    ]  # fmt: skip
    rules = [
        rule(
            when, draw(st.integers(1, 5)) if when in CONDITIONS[2:4] else None,
            upstream=draw(st.sampled_from("abc")),
            models=draw(st.sampled_from((["*"], ["qwen*"], ["qwen3"]))),
        )
        for when in draw(st.lists(st.sampled_from(CONDITIONS), max_size=6))
    ]  # fmt: skip
    caps = {"per_day": draw(PRICES), "per_month": draw(st.none() | PRICES)}
    return routing(*rules, upstreams=upstreams, **caps)


STATES = st.builds(
    LocalState, st.booleans(), st.none() | st.integers(1, 9000), st.integers(0, 7), failed=st.booleans()
)
ASKS = st.builds(
    asking,
    model=st.sampled_from(MODELS),
    upstream_path=st.sampled_from(("chat/completions", "embeddings", "api/chat", Absent("Ollama's shape"))),
    prompt_tokens_at_most=st.integers(1, 10**6),
    outputs=st.integers(0, 4) | st.just(Absent("it has a picture")),
    max_tokens=st.none() | st.integers(-1, 10**5),
    prompt_tokens=st.none() | st.integers(1, 9000),
)
SPENT = st.builds(Spent, st.integers(0, 10**8), st.integers(0, 10**8))


@pytest.mark.parametrize(
    ("rules", "state", "counted"),
    [
        (rule("model_missing"), LocalState(known=False), None),
        (rule("context_overflow"), LocalState(True, context_tokens=1500), 1500),
        (rule("queue_longer_than", 2), LocalState(True, queue_length=3), None),
        (rule("local_failed_before_first_token"), LocalState(True, failed=True), None),
        (rule("first_token_slower_than", 9), LocalState(True, failed=True), None),
    ],
)
def test_a_rule_that_applies_sends_it_away(rules: Any, state: LocalState, counted: int | None) -> None:
    decision = decide(asking(prompt_tokens=counted), state, routing(rules), NOTHING)
    assert isinstance(decision, Leave)
    assert decision.reason.startswith("rule 1 (") and decision.reason.endswith("sent to vllm")


@pytest.mark.parametrize(
    ("rules", "state", "counted"),
    [
        (rule("model_missing"), LocalState(True), None),
        (rule("context_overflow"), LocalState(True, context_tokens=1500), 1499),
        (rule("context_overflow"), LocalState(True, context_tokens=1500), None),
        (rule("queue_longer_than", 3), LocalState(True, queue_length=3), None),
        (rule("model_missing", models=["llama*"]), LocalState(False), None),
    ],
)
def test_a_rule_that_does_not_apply_sends_nothing_away(
    rules: Any, state: LocalState, counted: int | None
) -> None:
    decision = decide(asking(prompt_tokens=counted), state, routing(rules), NOTHING)
    assert not isinstance(decision, Leave) and attempts(decision) == [] and decision.notes == ()


@given(ASKS, STATES)
def test_without_rules_nothing_leaves(ask: Ask, state: LocalState) -> None:
    assert attempts(decide(ask, state, routing(), NOTHING)) == []


@given(ASKS, STATES, routings(), SPENT)
def test_the_first_rule_in_the_file_wins(
    ask: Ask, state: LocalState, configured: Routing, spent: Spent
) -> None:
    decision = decide(ask, state, configured, spent)
    alone = [
        decide(ask, state, configured.model_copy(update={"rules": (one,)}), spent) for one in configured.rules
    ]
    winners = [other for other in alone if isinstance(other, Leave)]
    assert isinstance(decision, Leave) == bool(winners)
    if isinstance(decision, Leave):
        assert decision.attempt == winners[0].attempt
    if isinstance(decision, Local):
        staying = [other for other in alone if isinstance(other, Local)]
        slow = next((other for other in staying if other.on_slow), Local(""))
        failure = next((other for other in staying if other.on_failure), Local(""))
        assert (decision.on_slow, decision.after_s) == (slow.on_slow, slow.after_s)
        assert decision.on_failure == failure.on_failure


@given(ASKS, STATES, routings(), SPENT)
def test_every_decision_explains_itself(
    ask: Ask, state: LocalState, configured: Routing, spent: Spent
) -> None:
    decision = decide(ask, state, configured, spent)
    assert decision.reason and all(note.startswith("rule ") and ": " in note for note in decision.notes)
    assert all(text.isprintable() and text.isascii() for text in (decision.reason, *decision.notes))
    if isinstance(decision, Refuse):
        assert decision.cure and (not state.known or state.failed)


@given(ASKS, STATES, routings(), SPENT)
def test_a_rule_that_applied_in_vain_is_noted(
    ask: Ask, state: LocalState, configured: Routing, spent: Spent
) -> None:
    held = replace(ask, permit=Private("marked"))
    decision, private = (decide(each, state, configured, spent) for each in (ask, held))
    if attempts(decision):
        assert any("private: marked" in note for note in private.notes)


def test_slow_and_failed_may_go_to_different_upstreams() -> None:
    rules = (rule("local_failed_before_first_token", upstream="b"), rule("first_token_slower_than", 10))
    decision = decide(
        asking(), LocalState(True), routing(*rules, upstreams=(upstream(), upstream("b"))), NOTHING
    )
    assert isinstance(decision, Local) and decision.after_s == 10
    assert [attempt.upstream.name for attempt in attempts(decision)] == ["vllm", "b"]
    assert "rule 1" in decision.reason and "rule 2" in decision.reason


def test_an_upstream_that_cannot_is_passed_over_with_a_note() -> None:
    missing = (rule("model_missing"), rule("model_missing", upstream="b"))
    upstreams = (upstream(models={"llama": "L"}), upstream("b"))
    decision = decide(asking(), LocalState(False), routing(*missing, upstreams=upstreams), NOTHING)
    assert isinstance(decision, Leave) and decision.attempt.upstream.name == "b"
    assert decision.notes == ("rule 1 (model_missing): vllm does not serve 'qwen3'",)


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"permit": Private("the header says so")}, 403, "the header says so"),
        ({"prompt_tokens_at_most": 10**9}, 402, "spending.per_day is 1.000000"),
        ({"upstream_path": Absent("Ollama's own")}, 404, "Ollama's own"),
        ({"upstream_path": "images/generations"}, 404, "no upstream has the endpoint"),
        ({"outputs": Absent("a picture")}, 404, "no bound: a picture"),
        ({"prompt_tokens": 8000}, 404, "leave no room"),
    ],
)
def test_a_missing_model_that_cannot_leave_is_refused_with_the_cause(
    changes: dict[str, Any], status: int, word: str
) -> None:
    paid = upstream(input_price=1, output_price=1, context=8000)
    configured = routing(rule("model_missing"), upstreams=(paid,), per_day=1)
    decision = decide(asking(**changes), LocalState(False), configured, NOTHING)
    assert isinstance(decision, Refuse) and decision.status == status
    assert word in decision.notes[0]


def test_a_failed_model_without_a_way_out_is_a_503() -> None:
    decision = decide(asking(), LocalState(True, failed=True), routing(), NOTHING)
    assert isinstance(decision, Refuse) and decision.status == 503


@pytest.mark.parametrize(
    ("asked", "counted", "sent"),
    [(None, None, 4096), (-1, None, 4096), (0, None, 4096), (100, None, 100), (9000, None, 4096),
     (None, 7000, 1000), (500, 7000, 500)],
)  # fmt: skip
def test_the_answer_is_limited_before_it_is_sent(asked: int | None, counted: int | None, sent: int) -> None:
    configured = routing(rule("model_missing"), upstreams=(upstream(context=8000),))
    decision = decide(asking(max_tokens=asked, prompt_tokens=counted), LocalState(False), configured, NOTHING)
    assert isinstance(decision, Leave) and decision.attempt.max_output_tokens == sent


def test_what_has_no_bound_may_go_where_nothing_costs() -> None:
    free = decide(
        asking(outputs=Absent("a picture")), LocalState(False), routing(rule("model_missing")), NOTHING
    )
    assert isinstance(free, Leave) and free.attempt.worst_case_micros == 0


def test_a_model_goes_by_the_upstreams_name() -> None:
    names = upstream(models={"qwen3": "Qwen/Qwen3", "*": "*"})
    configured = routing(rule("model_missing"), upstreams=(names,))
    for asked, sent in (("qwen3", "Qwen/Qwen3"), ("else", "else")):
        decision = decide(asking(model=asked), LocalState(False), configured, NOTHING)
        assert isinstance(decision, Leave) and decision.attempt.model == sent
    assert isinstance(decide(asking(model="*"), LocalState(False), configured, NOTHING), Refuse)


@pytest.mark.parametrize(
    ("state", "counted", "needed"),
    [
        (LocalState(True, context_tokens=2001), None, False),
        (LocalState(True, context_tokens=2000), None, True),
        (LocalState(True, context_tokens=2000), 700, False),
        (LocalState(True), None, False),
        (LocalState(False, context_tokens=2000), None, False),
    ],
)
def test_a_prompt_is_counted_only_where_that_decides(
    state: LocalState, counted: int | None, needed: bool
) -> None:
    configured = routing(rule("context_overflow"))
    assert needs_count(asking(prompt_tokens=counted), state, configured) is needed
    assert needs_count(asking(prompt_tokens=counted), state, routing()) is False
