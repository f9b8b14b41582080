"""Whatever the machine and the budgets: a plan keeps them, more of either is never worse, a refusal helps."""

import math
from dataclasses import replace
from re import search

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sixgig.errors import BudgetError
from sixgig.hardware import Absent, Machine
from sixgig.modelfile import ModelFile
from sixgig.planning import (
    Budgets,
    Need,
    Needs,
    Plan,
    Planner,
    Task,
    Tier,
    Use,
    anatomy,
    fit,
    smallest_budget,
)
from sixgig.planning.budget import PagedExperts
from sixgig.planning.footprint import resident_bytes
from tests.null import planned
from tests.null.planned import BOX, GIB, GPU, MACHINES, MIB

NAMES = ("qwen3.5-122b", "gpt-oss-20b", "mixtral-8x7b", "deepseek-v2-lite", "llama-8b")
MODELS = st.sampled_from(NAMES).map(planned.model) | st.just("lfm2moe").map(planned.family)
RAM = st.integers(0, 14) | st.integers(0, 120 * 1024)
VRAM = st.just(0) | st.integers(0, 100 * 1024)
BUDGETS = st.builds(lambda ram, vram: Budgets(ram * MIB, vram * MIB), RAM, VRAM)
CONTEXTS = st.sampled_from((1, 300, 512, 4096, 5000, 32768))
TASKS = st.builds(Task, context=CONTEXTS, ubatch=st.sampled_from((32, 512)), read_ahead=st.booleans())
QUICK = settings(max_examples=25, deadline=None)


def planned_at(machine: Machine, model: ModelFile, task: Task, budgets: Budgets) -> Plan | None:
    """None where it is refused; any other error than BudgetError passes through."""
    try:
        return Planner(machine, model, task).plan(budgets)
    except BudgetError:
        return None


def rate(plan: Plan | None) -> float:
    """0 where nothing is known."""
    return 0.0 if plan is None or isinstance(plan.speed, Absent) else plan.speed.decode_tokens_per_s


@QUICK
@given(MACHINES, MODELS, TASKS, BUDGETS)
def test_no_plan_exceeds_a_budget(machine: Machine, model: ModelFile, task: Task, budgets: Budgets) -> None:
    plan = planned_at(machine, model, task, budgets)
    assume(plan is not None)
    assert plan is not None
    assert plan.memory.predicted_peak_bytes + plan.memory.margin_bytes <= budgets.ram_bytes
    assert (
        sum(need.size_bytes for need in plan.memory.at(Tier.VRAM))
        == plan.memory.vram_bytes
        <= budgets.vram_bytes
    )
    assert all(need.size_bytes >= 0 for need in plan.memory.needs)
    assert rate(plan) >= 0 and math.isfinite(rate(plan))
    assert isinstance(plan.speed, Absent) == (rate(plan) == 0)


@QUICK
@given(MACHINES, MODELS, TASKS, BUDGETS)
def test_every_expert_is_planned_in_one_tier(
    machine: Machine, model: ModelFile, task: Task, budgets: Budgets
) -> None:
    plan, parts = planned_at(machine, model, task, budgets), anatomy(model)
    assume(plan is not None)
    assert plan is not None
    there, memory = plan.placement.device_routed_bytes(parts), plan.memory
    assert memory.held_bytes(Use.ROUTED_EXPERTS, tier=Tier.VRAM) == there
    if memory.mode == "paged":
        share = 1 - there / max(parts.routed_bytes, 1)
        held = memory.expert_cache_bytes + memory.disk_bytes
        assert held == pytest.approx(resident_bytes(model) * share, abs=1)
    else:
        weights = (Use.WEIGHTS, Use.DENSE_WEIGHTS)
        held = sum(memory.held_bytes(*weights, tier=tier) for tier in (Tier.RAM, Tier.VRAM))
        assert held + there == parts.dense_bytes + parts.routed_bytes and not memory.disk_bytes


@QUICK
@given(MACHINES, MODELS, TASKS, BUDGETS, st.integers(0, 30 * GIB), st.integers(0, 30 * GIB))
def test_more_memory_is_never_slower(
    machine: Machine, model: ModelFile, task: Task, budgets: Budgets, ram: int, vram: int
) -> None:
    planner = Planner(machine, model, task)
    try:
        less = planner.plan(budgets)
    except BudgetError:
        return
    for richer in (replace(budgets, ram_bytes=budgets.ram_bytes + ram),
                   replace(budgets, vram_bytes=budgets.vram_bytes + vram)):  # fmt: skip
        assert rate(planner.plan(richer)) >= rate(less) * (1 - 1e-9)


@QUICK
@given(MACHINES, MODELS, TASKS, BUDGETS, CONTEXTS)
def test_a_shorter_context_fits_where_the_longer_does_and_is_never_slower(
    machine: Machine, model: ModelFile, task: Task, budgets: Budgets, context: int
) -> None:
    long = planned_at(machine, model, task, budgets)
    if long is not None and context <= task.context:
        short = planned_at(machine, model, replace(task, context=context), budgets)
        assert short is not None
        assert rate(short) >= rate(long) * (1 - 1e-9)


@QUICK
@given(MACHINES, st.sampled_from(NAMES), TASKS, st.integers(0, 6000), VRAM)
def test_a_refusal_names_the_smallest_budget_that_works(
    machine: Machine, name: str, task: Task, ram: int, vram: int
) -> None:
    planner = Planner(machine, planned.model(name), task)
    try:
        planner.plan(Budgets(ram * MIB, vram * MIB))
    except BudgetError as error:
        found = search(r"--ram (\d+)M", error.cure)
        assert found is not None and int(found[1]) > ram
        planner.plan(Budgets(int(found[1]) * MIB, vram * MIB))
        with pytest.raises(BudgetError):
            planner.plan(Budgets((int(found[1]) - 1) * MIB, vram * MIB))


@QUICK
@given(MODELS, st.integers(300, 6000), st.sampled_from((0, 1024, 6144)))
def test_a_shorter_context_that_a_refusal_names_really_fits(model: ModelFile, ram: int, vram: int) -> None:
    machine, budgets = replace(BOX, gpus=(GPU,)), Budgets(ram * MIB, vram * MIB)
    try:
        Planner(machine, model, Task(context=32768)).plan(budgets)
    except BudgetError as error:
        if found := search(r"--context (\d+)", error.cure):
            Planner(machine, model, Task(context=int(found[1]))).plan(budgets)


def test_such_a_context_is_named_for_a_model_with_states() -> None:
    """Its recurrent states stay however short the context: they must not count as saved."""
    planner = Planner(BOX, planned.model("qwen3.5-122b"), Task(context=262144))
    with pytest.raises(BudgetError, match="--context") as caught:
        planner.plan(Budgets(8 * GIB))
    context = int(caught.value.cure.split("--context ")[1])
    Planner(BOX, planner.model.model, Task(context=context)).plan(Budgets(8 * GIB))
    assert context > 50_000


@given(st.integers(0, 100), st.integers(1, 100), st.integers(0, 40), st.integers(0, 400))
def test_memory_for_groups_is_counted_wherever_it_is_needed(
    routed: int, visit: int, scratch: int, room: int
) -> None:
    """Also where fewer experts are left to main memory than one visit may want."""
    groups = Need(Use.EXPERT_GROUPS, scratch * MIB, phase="running")
    needs = Needs((), PagedExperts(routed * MIB + 1, 0, (groups,), visit * MIB))
    budget = room * MIB + smallest_budget(needs.least_bytes(Tier.RAM))
    plan = fit([needs], Budgets(budget))
    assert plan.predicted_peak_bytes + plan.margin_bytes <= budget
    assert (groups in plan.needs) == (plan.expert_cache_bytes < visit * MIB)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("missing", ["disk", "bandwidth", "both"])
def test_without_a_rate_there_is_no_speed_but_a_reason(name: str, missing: str) -> None:
    machine, model = BOX, planned.model(name)
    if missing != "bandwidth":
        machine = replace(machine, disk=Absent("nobody looked"))
    if missing != "disk":
        machine = replace(machine, memory=replace(BOX.memory, bandwidth_bytes_per_s=Absent("nobody looked")))
    plan = Planner(machine, model, Task()).plan(Budgets(7 * GIB))
    if missing == "disk" and plan.memory.mode == "unpaged":
        assert rate(plan) > 0
    else:
        assert isinstance(plan.speed, Absent) and "nobody looked" in plan.speed.reason
        assert "nobody looked" in plan.why() and plan.to_json()["decode_tokens_per_s"] is None


@pytest.mark.parametrize("name", NAMES)
def test_a_machine_with_100_mb_left_is_refused(name: str) -> None:
    small = replace(BOX.memory, available_bytes=100 * MIB, cgroup_limit_bytes=100 * MIB)
    with pytest.raises(BudgetError, match="--ram"):
        Planner(replace(BOX, memory=small), planned.model(name), Task()).plan(Budgets(100 * MIB))
