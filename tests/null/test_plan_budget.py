"""The budget is a contract: never planned past, refused only where nothing works."""

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sixgig
from sixgig.errors import BudgetError
from sixgig.planning.budget import (
    BOUNDED,
    MIB,
    Budgets,
    Needs,
    PagedExperts,
    Refusal,
    default_budget,
    fit,
    margin_for,
    smallest_budget,
)
from sixgig.planning.uses import Need, Tier, Use, peak_bytes
from sixgig.units import parse_size

GIB = 1024 * MIB
SIZES = st.integers(0, 3 * GIB)
TIERS = st.sampled_from([Tier.VRAM, Tier.RAM])
Ways = tuple[Needs, ...]


@st.composite
def ways(draw: st.DrawFn) -> Ways:
    """Of one model: held whole and, where it has routed experts, paged; a part of either on a GPU."""
    phases = st.sampled_from(["always", "loading", "running"])
    kinds = st.sampled_from(["anon", "file"])
    uses = st.sampled_from([Use.PROCESS, Use.WEIGHTS, Use.LOADER, Use.SERVER])
    lists = st.lists(st.builds(Need, uses, SIZES, kinds, phases, TIERS), max_size=4).map(tuple)
    moved = draw(st.integers(0, 2 * GIB))
    held = (*draw(lists), Need(Use.ROUTED_EXPERTS, moved, tier=Tier.VRAM))
    routed = draw(st.one_of(st.just(0), st.integers(1, 80 * GIB)))
    context, per_token = draw(st.integers(0, 9000)), 40_000
    whole = Needs((*held, *draw(lists), Need(Use.ROUTED_EXPERTS, routed)), None, context, per_token)
    groups = Need(Use.EXPERT_GROUPS, draw(st.integers(0, GIB)), phase="running")
    smallest, visit = draw(st.integers(0, routed)), draw(st.integers(0, routed))
    paged = PagedExperts(routed, smallest, (groups,), visit)
    return (whole, Needs((*held, *draw(lists)), paged, context, per_token)) if routed else (whole,)


BUDGETS = st.builds(Budgets, st.integers(0, 100 * GIB), st.integers(0, 10 * GIB))
PLENTY = 1 << 50


def smallest(ways: Ways, tier: Tier = Tier.RAM) -> int:
    """By what each way needs, without fit()."""
    return smallest_budget(min(needs.least_bytes(tier) for needs in ways), tier)


def budgets(tier: Tier, size: int) -> Budgets:
    """That of one tier, plenty of the other."""
    return Budgets(size, PLENTY) if tier is Tier.RAM else Budgets(PLENTY, size)


@given(ways(), BUDGETS)
def test_no_tier_is_planned_past_its_budget(ways: Ways, budgets: Budgets) -> None:
    try:
        plan = fit(ways, budgets)
    except BudgetError:
        return
    for tier in BOUNDED:
        assert peak_bytes(plan.needs, tier) + margin_for(budgets.of(tier), tier) <= budgets.of(tier)
    assert plan.predicted_peak_bytes + plan.margin_bytes <= budgets.ram_bytes
    for phase in ("loading", "running"):
        held = sum(need.size_bytes for need in plan.at(Tier.RAM) if need.phase in ("always", phase))
        assert held <= plan.predicted_peak_bytes


@given(ways(), BUDGETS)
def test_every_routed_byte_is_in_one_tier(ways: Ways, budgets: Budgets) -> None:
    try:
        plan = fit(ways, budgets)
    except BudgetError:
        return
    experts = (Use.ROUTED_EXPERTS, Use.EXPERT_CACHE)
    there = {tier: plan.held_bytes(*experts, tier=tier) for tier in Tier}
    whole = ways[0]
    assert sum(there.values()) == sum(n.size_bytes for n in whole.held if n.use in experts)
    assert there[Tier.VRAM] == sum(
        n.size_bytes for n in whole.held if n.use in experts and n.tier is Tier.VRAM
    )
    assert there[Tier.DISK] == plan.disk_bytes and (plan.mode == "paged" or not plan.disk_bytes)
    if plan.mode == "paged":
        paged = ways[-1].paged
        assert paged is not None and paged.smallest_cache_bytes <= plan.expert_cache_bytes <= paged.size_bytes


@given(ways(), TIERS)
def test_the_smallest_budget_works_and_one_step_less_is_refused(ways: Ways, tier: Tier) -> None:
    least = smallest(ways, tier)
    assert least % MIB == 0
    if least:
        with pytest.raises(Refusal, match=f"{tier.value}.* {least // MIB}M") as refused:
            fit(ways, budgets(tier, least - MIB))
        assert (refused.value.tier, refused.value.smallest_bytes) == (tier, least)
    fit(ways, budgets(tier, least))


@given(ways(), BUDGETS)
def test_what_a_refusal_names_does_not_depend_on_the_budget_asked_for(ways: Ways, budgets: Budgets) -> None:
    try:
        fit(ways, budgets)
    except Refusal as refusal:
        assert refusal.smallest_bytes > budgets.of(refusal.tier)
        within = [n for n in ways if n.least_bytes(Tier.VRAM) <= budgets.vram_bytes]
        assert refusal.smallest_bytes == smallest(tuple(within) or ways, refusal.tier)
        assert refusal.uses in refusal.numbers


@given(ways(), st.integers(0, GIB))
def test_a_named_budget_holds_what_the_needs_may_turn_out_to_be(ways: Ways, spread: int) -> None:
    told = tuple(replace(needs, spread_bytes=spread) for needs in ways)
    turned_out = tuple(replace(needs, held=(*needs.held, Need(Use.PROCESS, spread))) for needs in ways)
    least = smallest(ways)
    if least:
        with pytest.raises(Refusal) as refused:
            fit(told, Budgets(least - MIB, PLENTY))
        fit(turned_out, Budgets(refused.value.smallest_bytes, PLENTY))


@given(ways())
def test_each_mode_alone_has_its_own_smallest_budget(ways: Ways) -> None:
    for needs in ways:
        alone = smallest((needs,))
        assert fit([needs], Budgets(alone, PLENTY)).mode == ("paged" if needs.paged else "unpaged")
        assert alone >= smallest(ways)
        with pytest.raises(BudgetError, match=f"--ram {alone // MIB}M"):
            fit([needs], Budgets(alone - MIB, PLENTY))


@given(ways(), BUDGETS, st.integers(0, GIB), TIERS)
def test_more_memory_of_either_kind_never_hurts(ways: Ways, budgets: Budgets, more: int, tier: Tier) -> None:
    try:
        less = fit(ways, budgets)
    except BudgetError:
        return
    name = "ram_bytes" if tier is Tier.RAM else "vram_bytes"
    plan = fit(ways, replace(budgets, **{name: budgets.of(tier) + more}))
    assert (less.mode, plan.mode) != ("unpaged", "paged")
    assert plan.mode == "unpaged" or plan.expert_cache_bytes >= less.expert_cache_bytes


@given(ways(), BUDGETS)
def test_a_suggested_context_really_fits(ways: Ways, budgets: Budgets) -> None:
    def at(context: int) -> Ways:
        cache = [Need(Use.KV_CACHE, context * n.kv_bytes_per_token, phase="running") for n in ways]
        return tuple(replace(n, held=(*n.held, kv)) for n, kv in zip(ways, cache, strict=True))

    try:
        fit(at(ways[0].context_tokens), budgets)
    except Refusal as error:
        assert bool(error.context) == ("--context " in error.cure and error.tier is Tier.RAM)
        if error.context:
            assert error.context == int(error.cure.split("--context ")[1])
            assert 0 < error.context < ways[0].context_tokens
            fit(at(error.context), budgets)


def model(routed_bytes: int = 20 * GIB) -> Ways:
    held = (
        Need(Use.PROCESS, 60 * MIB),
        Need(Use.PROGRAM_FILES, 40 * MIB, "file"),
        Need(Use.DENSE_WEIGHTS, 2 * GIB),
        Need(Use.KV_CACHE, 512 * MIB, phase="running"),
        Need(Use.COMPUTE_BUFFERS, 300 * MIB, phase="running"),
        Need(Use.LOADER, 600 * MIB, phase="loading"),
    )
    whole = Needs((*held, Need(Use.ROUTED_EXPERTS, routed_bytes)), None, 4096, 128 << 10)
    readers = Need(Use.READ_AHEAD, 4 * MIB, phase="running")
    return whole, Needs((*held, readers), PagedExperts(routed_bytes, 64 * MIB), 4096, 128 << 10)


def test_a_file_that_fits_runs_unpaged() -> None:
    plan = fit(model(GIB), Budgets(6 * GIB))
    assert (plan.mode, plan.expert_cache_bytes) == ("unpaged", 0)
    assert plan.predicted_peak_bytes == (60 + 40 + 2048 + 512 + 300 + 1024) * MIB  # staging is gone by then


def test_a_larger_one_is_paged_with_all_that_is_left() -> None:
    plan = fit(model(), Budgets(6 * GIB))
    assert plan.mode == "paged"
    assert plan.expert_cache_bytes == 6 * GIB - margin_for(6 * GIB) - (60 + 40 + 2048 + 512 + 300 + 4) * MIB
    assert plan.predicted_peak_bytes + plan.margin_bytes == 6 * GIB


def test_the_plan_explains_itself() -> None:
    plan = fit(model(), Budgets(6 * GIB))
    lines = plan.explain().splitlines()
    assert lines[0] == "paged: 5.88 GiB predicted peak, 122.88 MiB margin, 6.00 GiB budget"
    assert lines[2].split() == ["program", "files", "40.00", "MiB", "file"]
    assert "while loading" in lines[6]
    assert lines[-1].split()[:2] == ["expert", "cache"] and lines[-1].endswith("% of the experts")
    told = json.loads(json.dumps(plan.to_json()))
    assert told["predicted_peak_memory_bytes"] == plan.predicted_peak_bytes
    assert told["tiers"][1] == {
        "name": "program files",
        "size_bytes": 40 * MIB,
        "kind": "file",
        "phase": "always",
    }


def test_a_refusal_names_numbers_and_cures_that_work() -> None:
    with pytest.raises(BudgetError) as caught:
        fit(model(), Budgets(int(2.8 * GIB)))
    error = caught.value
    assert "2.80 GiB" in error.what and "dense weights 2.00 GiB" in error.numbers
    size, context = error.cure.removeprefix("try --ram ").split(" or --context ")
    fit(model(), Budgets(parse_size(size)))
    assert int(context) == 2304  # 218 MiB short at 8 tokens per MiB: 1744 tokens fewer
    with pytest.raises(BudgetError) as caught:
        fit(model(), Budgets(GIB))
    assert "--context" not in caught.value.cure


def test_no_other_module_spells_what_a_use_of_memory_is_called() -> None:
    """A label is written into documents and tables; nothing is looked up by it."""
    labels = {use.label for use in Use if " " in use.label}
    root = Path(sixgig.__file__).parent
    spelled = {
        (path.name, node.value)
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in labels
    }
    assert {name for name, _ in spelled} == {"uses.py"}


def test_default_budget_leaves_the_system_its_share() -> None:
    assert default_budget(8 * GIB) == 8 * GIB - 512 * MIB
    assert default_budget(100 * GIB) == 95 * GIB
    assert default_budget(7 * GIB, held_bytes=GIB) == default_budget(8 * GIB)
    assert default_budget(320 * MIB) == 280 * MIB  # a small container is no reason to take nothing
