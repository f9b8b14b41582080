"""The budget is a contract: never planned past, refused only where nothing works."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import BudgetError
from sixgig.plan.budget import (
    MIB,
    Mode,
    Needs,
    Tier,
    default_budget,
    margin_for,
    plan_memory,
    smallest_budget,
)
from sixgig.units import parse_size

GIB = 1024 * MIB
SIZES = st.integers(0, 3 * GIB)


@st.composite
def needs(draw: st.DrawFn) -> Needs:
    phases = st.sampled_from(["always", "loading", "running"])
    kinds = st.sampled_from(["anon", "file"])
    tiers = st.lists(st.builds(Tier, st.just("tier"), SIZES, kinds, phases), max_size=4).map(tuple)
    routed = draw(st.one_of(st.just(0), st.integers(1, 80 * GIB)))
    smallest_cache = draw(st.integers(0, routed))
    return Needs(
        draw(tiers),
        routed,
        smallest_cache,
        unpaged_tiers=draw(tiers),
        paged_tiers=draw(tiers),
        context_tokens=draw(st.integers(0, 9000)),
        kv_bytes_per_token=40_000,
        grouping=(Tier("expert groups", draw(st.integers(0, GIB)), phase="running"),),
        whole_visit_bytes=draw(st.integers(0, routed)),
    )


BUDGETS = st.integers(0, 100 * GIB)


@given(needs(), BUDGETS)
def test_never_planned_past_the_budget(need: Needs, budget: int) -> None:
    try:
        plan = plan_memory(need, budget)
    except BudgetError:
        return
    assert plan.predicted_peak_bytes + plan.margin_bytes <= budget
    for phase in ("loading", "running"):
        held = sum(tier.size_bytes for tier in plan.tiers if tier.phase in ("always", phase))
        assert held <= plan.predicted_peak_bytes
    if plan.mode == "paged":
        assert need.smallest_cache_bytes <= plan.expert_cache_bytes <= need.routed_bytes


@given(needs())
def test_the_smallest_budget_works_and_one_step_less_is_refused(need: Needs) -> None:
    smallest = smallest_budget(need)
    assert smallest % MIB == 0
    plan_memory(need, smallest)
    with pytest.raises(BudgetError, match=f"--ram {smallest // MIB}M"):
        plan_memory(need, smallest - MIB)


@given(needs(), st.sampled_from(["unpaged", "paged"]))
def test_one_mode_alone_has_its_own_smallest_budget(need: Needs, mode: Mode) -> None:
    smallest = smallest_budget(need, (mode,))
    assert plan_memory(need, smallest, (mode,)).mode == (mode if need.routed_bytes else "unpaged")
    assert smallest >= smallest_budget(need)
    with pytest.raises(BudgetError, match=f"--ram {smallest // MIB}M"):
        plan_memory(need, smallest - MIB, (mode,))


@given(needs(), BUDGETS, st.integers(0, GIB))
def test_more_memory_never_hurts(need: Needs, budget: int, more: int) -> None:
    if budget < smallest_budget(need):
        return
    less, plan = plan_memory(need, budget), plan_memory(need, budget + more)
    assert (less.mode, plan.mode) != ("unpaged", "paged")
    assert plan.mode == "unpaged" or plan.expert_cache_bytes >= less.expert_cache_bytes


@given(needs(), BUDGETS)
def test_a_suggested_context_really_fits(need: Needs, budget: int) -> None:
    kv = Tier("KV cache", need.context_tokens * need.kv_bytes_per_token, phase="running")
    whole = Needs(
        (*need.tiers, kv), need.routed_bytes, need.smallest_cache_bytes, need.unpaged_tiers, need.paged_tiers,
        need.context_tokens, need.kv_bytes_per_token,
    )  # fmt: skip
    try:
        plan_memory(whole, budget)
    except BudgetError as error:
        if "--context" in error.cure:
            context = int(error.cure.split("--context ")[1])
            assert 0 < context < need.context_tokens
            shorter = Tier("KV cache", context * need.kv_bytes_per_token, phase="running")
            tiers = (*need.tiers, shorter)
            plan_memory(
                Needs(
                    tiers, need.routed_bytes, need.smallest_cache_bytes, need.unpaged_tiers, need.paged_tiers
                ),
                budget,
            )


def model(routed_bytes: int = 20 * GIB) -> Needs:
    return Needs(
        tiers=(
            Tier("process", 60 * MIB),
            Tier("library", 40 * MIB, "file"),
            Tier("dense weights", 2 * GIB),
            Tier("KV cache", 512 * MIB, phase="running"),
            Tier("compute buffers", 300 * MIB, phase="running"),
        ),
        routed_bytes=routed_bytes,
        smallest_cache_bytes=64 * MIB,
        unpaged_tiers=(Tier("staging", 600 * MIB, phase="loading"),),
        paged_tiers=(Tier("staging", 600 * MIB, phase="loading"), Tier("readers", 4 * MIB, phase="running")),
        context_tokens=4096,
        kv_bytes_per_token=128 << 10,
    )


def test_a_file_that_fits_runs_unpaged() -> None:
    plan = plan_memory(model(GIB), 6 * GIB)
    assert (plan.mode, plan.expert_cache_bytes) == ("unpaged", 0)
    assert plan.predicted_peak_bytes == (60 + 40 + 2048 + 512 + 300 + 1024) * MIB  # staging is gone by then


def test_a_larger_one_is_paged_with_all_that_is_left() -> None:
    plan = plan_memory(model(), 6 * GIB)
    assert plan.mode == "paged"
    assert plan.expert_cache_bytes == 6 * GIB - margin_for(6 * GIB) - (60 + 40 + 2048 + 512 + 300 + 4) * MIB
    assert plan.predicted_peak_bytes + plan.margin_bytes == 6 * GIB


def test_the_plan_explains_itself() -> None:
    plan = plan_memory(model(), 6 * GIB)
    lines = plan.explain().splitlines()
    assert lines[0] == "paged: 5.88 GiB predicted peak, 122.88 MiB margin, 6.00 GiB budget"
    assert lines[2].split() == ["library", "40.00", "MiB", "file"]
    assert "while loading" in lines[6]
    assert lines[-1].split()[:2] == ["expert", "cache"] and lines[-1].endswith("% of the experts")
    told = json.loads(json.dumps(plan.to_json()))
    assert told["predicted_peak_memory_bytes"] == plan.predicted_peak_bytes
    assert told["tiers"][1] == {"name": "library", "size_bytes": 40 * MIB, "kind": "file", "phase": "always"}


def test_a_refusal_names_numbers_and_cures_that_work() -> None:
    with pytest.raises(BudgetError) as caught:
        plan_memory(model(), int(2.8 * GIB))
    error = caught.value
    assert "2.80 GiB" in error.what and "dense weights 2.00 GiB" in error.numbers
    size, context = error.cure.removeprefix("try --ram ").split(" or --context ")
    plan_memory(model(), parse_size(size))
    assert int(context) == 2304  # 218 MiB short at 8 tokens per MiB: 1744 tokens fewer
    with pytest.raises(BudgetError) as caught:
        plan_memory(model(), GIB)
    assert "--context" not in caught.value.cure


def test_default_budget_leaves_the_system_its_share() -> None:
    assert default_budget(8 * GIB) == 8 * GIB - 512 * MIB
    assert default_budget(100 * GIB) == 95 * GIB
    assert default_budget(7 * GIB, held_bytes=GIB) == default_budget(8 * GIB)
    assert default_budget(320 * MIB) == 280 * MIB  # a small container is no reason to take nothing
