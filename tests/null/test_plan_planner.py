"""Which way to run a model the planner prefers, and what it tells of it."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sixgig.errors import BudgetError
from sixgig.hardware import Absent, Gpu, Machine, Meter
from sixgig.planning import (
    MEASURED,
    Budgets,
    EngineBytes,
    Lesson,
    Placement,
    Plan,
    Planner,
    Task,
    Tier,
    anatomy,
    usable_gpu,
)
from sixgig.planning.footprint import KERNEL_FILE_BYTES
from sixgig.planning.nominal import NOMINAL_CORE
from sixgig.planning.placement import placements
from tests.null import planned
from tests.null.planned import BOX, GIB, GPU, MACHINES, MIB, NONE

MIXTURE, DENSE = "qwen3-30b", "llama-8b"
WITH_GPU = replace(BOX, gpus=(GPU,))
FAST_LINK = replace(GPU, link_bytes_per_s=400e9)  # a chip beside its memory: experts are soon there
KEYS = {
    "vram_bytes", "ram_bytes", "disk_bytes", "peak_memory_bytes", "decode_tokens_per_s",
    "time_to_first_token_s", "explanation",
}  # fmt: skip


def plan(
    budgets: Budgets, name: str = MIXTURE, machine: Machine = WITH_GPU, task: Task | None = None
) -> Plan:
    return Planner(machine, planned.model(name), task or Task()).plan(budgets)


def rate(plan: Plan) -> float:
    assert not isinstance(plan.speed, Absent)
    return plan.speed.decode_tokens_per_s


def test_all_in_memory_where_that_fits_and_paged_where_not() -> None:
    whole, part = plan(Budgets(24 * GIB)), plan(Budgets(8 * GIB))
    assert (whole.memory.mode, part.memory.mode) == ("unpaged", "paged")
    assert (whole.memory.disk_bytes, whole.memory.expert_cache_bytes) == (0, 0)
    assert part.memory.disk_bytes == part.memory.routed_bytes - part.memory.expert_cache_bytes > 0
    assert rate(whole) > rate(part)
    assert "everything in memory" in whole.why() and "of disk per token" in part.why()


def test_repacked_weights_are_quicker_than_experts_that_all_stay_in_the_cache() -> None:
    planner = Planner(replace(BOX, kernels=NOMINAL_CORE), planned.model(MIXTURE), Task())
    whole, paged = (planner.plan(Budgets(24 * GIB), (mode,)) for mode in ("unpaged", "paged"))
    assert paged.memory.disk_bytes == 0 and rate(whole) > 1.1 * rate(paged)


def test_a_mode_that_was_ruled_out_is_not_planned() -> None:
    planner = Planner(BOX, planned.model(MIXTURE), Task())
    assert planner.plan(Budgets(24 * GIB), ("paged",)).memory.mode == "paged"
    with pytest.raises(BudgetError, match="--ram"):
        planner.plan(Budgets(8 * GIB), ("unpaged",))


def test_a_dense_model_is_never_paged() -> None:
    assert plan(Budgets(8 * GIB), DENSE).memory.mode == "unpaged"
    with pytest.raises(BudgetError):
        plan(Budgets(3 * GIB), DENSE)


def test_ways_to_use_a_gpu_take_dense_layers_first_then_ever_more_experts() -> None:
    parts = anatomy(planned.model(MIXTURE))
    ways = [(way.n_layers, way.n_expert_layers) for way in placements(parts, GPU)]
    assert ways == [(n, 0) for n in range(1, 49)] + [(48, n) for n in range(1, 49)]
    assert [w.n_layers for w in placements(anatomy(planned.model(DENSE)), GPU)] == list(range(1, 33))


def test_what_moves_to_the_gpu_leaves_main_memory() -> None:
    planner, budgets = Planner(WITH_GPU, planned.model(MIXTURE), Task()), Budgets(40 * GIB, 40 * GIB)
    at = [planner.plan_at(way, budgets) for way in (Placement(), *placements(planner.model, GPU))]
    ram, vram = [p.memory for p in at], [p.memory.vram_bytes for p in at]
    peaks = [memory.predicted_peak_bytes for memory in ram]
    assert peaks == sorted(peaks, reverse=True) and vram == sorted(vram)
    dense = {need.use.label: need.size_bytes for need in at[-1].memory.at(Tier.VRAM)}
    assert dense["routed experts"] == planner.model.routed_bytes
    host = {need.use.label: need.size_bytes for need in at[-1].memory.at(Tier.RAM)}
    assert host["KV cache"] == 0
    embedding = sum(tensor.size_bytes for tensor in planner.model.embedding)
    assert host["dense weights"] == embedding  # the rows are looked up in main memory
    assert dense["dense weights"] + embedding == planner.model.dense_bytes


@pytest.mark.parametrize("vram_gib", [1, 2, 4, 24])
def test_a_gpu_is_filled_in_that_order(vram_gib: int) -> None:
    found = plan(Budgets(24 * GIB, vram_gib * GIB), machine=replace(WITH_GPU, disk=NONE))
    place = found.placement
    assert place.n_layers == 48 or not place.n_expert_layers
    assert place.n_layers > 0 and found.memory.vram_bytes > 0.8 * min(vram_gib * GIB, found.memory.vram_bytes)
    assert rate(found) > rate(plan(Budgets(24 * GIB)))
    assert found.memory.vram_bytes <= vram_gib * GIB


def test_a_cache_of_experts_on_the_gpu_where_its_link_is_fast_and_they_fit_main_memory() -> None:
    slow, fast = WITH_GPU, replace(BOX, gpus=(FAST_LINK,))
    room, tight = Budgets(24 * GIB, 4 * GIB), Budgets(8 * GIB, 4 * GIB)
    cached = plan(room, machine=fast)
    assert cached.placement.expert_cache_bytes > 0
    assert cached.memory.mode == "unpaged" and "cache of experts" in cached.why()
    assert not plan(room, machine=slow).placement.expert_cache_bytes
    paged = plan(tight, machine=fast)
    assert paged.memory.mode == "paged" and not paged.placement.expert_cache_bytes
    held = [one.memory.at(Tier.VRAM)[-1].size_bytes for one in (paged, cached)]
    assert held[0] == 0 < held[1]


def test_experts_are_not_paged_below_a_cache_on_the_gpu() -> None:
    planner = Planner(WITH_GPU, planned.model(MIXTURE), Task())
    cached = Placement(GPU, 48, 0, GIB)
    assert planner.plan_at(cached, Budgets(24 * GIB, 6 * GIB)).memory.mode == "unpaged"
    with pytest.raises(BudgetError, match="--ram"):
        planner.plan_at(cached, Budgets(8 * GIB, 6 * GIB))


def test_a_refusal_is_that_of_the_way_that_needs_least() -> None:
    """Not of the last that was tried: a cache on the GPU, below which all experts fill main memory."""
    planner = Planner(WITH_GPU, planned.model("qwen3.5-122b"), Task())
    with pytest.raises(BudgetError, match="--ram") as caught:
        planner.plan(Budgets(300 * MIB, 6 * GIB))
    needed = int(caught.value.cure.split("--ram ")[1].split("M")[0]) * MIB
    assert planner.plan(Budgets(needed, 6 * GIB)).memory.mode == "paged"
    assert needed < planner.model.routed_bytes / 10


def test_without_a_known_link_no_cache_is_thought_of() -> None:
    machine = replace(BOX, gpus=(replace(GPU, link_bytes_per_s=NONE),))
    planner = Planner(machine, planned.model(MIXTURE), Task())
    for other in planner.runners_up(Budgets(24 * GIB, 4 * GIB)):
        assert not other.placement.expert_cache_bytes and rate(other) > 0


def test_a_gpu_that_shares_main_memory_or_has_no_budget_is_not_planned_for() -> None:
    shared = replace(GPU, shares_ram=True, memory_bytes=48 * GIB)
    assert usable_gpu(replace(BOX, gpus=(shared,))) is None
    assert usable_gpu(replace(BOX, gpus=(shared, GPU))) is GPU
    alone = plan(Budgets(24 * GIB), machine=BOX)
    assert (
        plan(Budgets(24 * GIB, 16 * GIB), machine=replace(BOX, gpus=(shared,))).placement == alone.placement
    )
    assert plan(Budgets(24 * GIB, 0)).placement.gpu is None
    assert plan(Budgets(24 * GIB, 300 * MIB)).placement.gpu is None  # less than its driver takes


def test_the_largest_of_several_is_used() -> None:
    larger = replace(GPU, name="larger", memory_bytes=2 * GPU.memory_bytes)
    assert usable_gpu(replace(BOX, gpus=(GPU, larger))) is larger


def test_runners_up_use_the_machine_otherwise_fastest_first() -> None:
    planner, budgets = Planner(WITH_GPU, planned.model(MIXTURE), Task()), Budgets(24 * GIB, 4 * GIB)
    best, others = planner.plan(budgets), planner.runners_up(budgets)
    rates = [rate(other) for other in (best, *others)]
    assert rates == sorted(rates, reverse=True) and len(others) >= 2
    assert any(other.placement.gpu is None for other in others)
    assert best.placement not in [other.placement for other in others]


def test_lessons_correct_the_speed_of_their_mode() -> None:
    def lessons(mode: str) -> Lesson:
        return Lesson(decode_factor=2.0, prompt_factor=4.0) if mode == "paged" else Lesson()

    plain, taught = (
        Planner(BOX, planned.model(MIXTURE), Task(), lessons=source)
        for source in (lambda mode: Lesson(), lessons)
    )
    for budget, slower in ((8 * GIB, 2.0), (24 * GIB, 1.0)):
        before, after = plain.plan(Budgets(budget)), taught.plan(Budgets(budget))
        assert rate(before) == pytest.approx(slower * rate(after))
    prompts = [p.plan(Budgets(8 * GIB)).to_json()["prompt_tokens_per_s"] for p in (plain, taught)]
    assert prompts[0] == pytest.approx(4 * prompts[1])


def test_the_engines_own_figures_are_taken_where_there_are_any() -> None:
    def figures(placement: Placement, mode: str) -> EngineBytes:
        return EngineBytes(3 * GIB, GIB, 5 * MIB, MEASURED)

    found = Planner(BOX, planned.model(MIXTURE), Task(), figures=figures).plan(Budgets(8 * GIB))
    tiers = {need.use.label: need.size_bytes for need in found.memory.at(Tier.RAM)}
    assert (tiers["dense weights"], tiers["KV cache"], tiers["compute buffers"]) == (3 * GIB, GIB, 5 * MIB)
    assert found.to_json()["confirmed_by_engine"] and not plan(Budgets(8 * GIB)).confirmed


def test_a_known_process_takes_the_place_of_the_estimate() -> None:
    known = Planner(BOX, planned.model(MIXTURE), Task(), known_process=(500 * MIB, 7 * MIB))
    tiers = {n.use.label: n.size_bytes for n in known.plan(Budgets(8 * GIB)).memory.at(Tier.RAM)}
    assert tiers["process"] >= 500 * MIB
    assert tiers["program files"] == 7 * MIB + KERNEL_FILE_BYTES


def test_joules_are_those_metered_before_or_nothing() -> None:
    metered = replace(BOX, meters=(Meter("a counter", "joules"),))
    unknown = [plan(Budgets(8 * GIB), machine=machine) for machine in (BOX, metered)]
    assert [p.to_json()["joules_per_token"] for p in unknown] == [None, None]
    reasons = [p.speed.joules_per_token for p in unknown if not isinstance(p.speed, Absent)]
    assert isinstance(reasons[0], Absent) and "no energy counter" in reasons[0].reason
    assert isinstance(reasons[1], Absent) and "metered" in reasons[1].reason
    taught = Planner(BOX, planned.model(MIXTURE), Task(), lessons=lambda mode: Lesson(joules_per_token=2.5))
    assert taught.plan(Budgets(8 * GIB)).to_json()["joules_per_token"] == 2.5


@settings(max_examples=25, deadline=None)
@given(MACHINES, st.sampled_from([MIXTURE, DENSE]), st.integers(1, 40), st.integers(0, 40))
def test_what_is_told_has_the_documented_keys_and_finite_numbers(
    machine: Machine, name: str, ram: int, vram: int
) -> None:
    planner, budgets = Planner(machine, planned.model(name), Task()), Budgets(ram * GIB, vram * GIB)
    try:
        found = (planner.plan(budgets), *planner.runners_up(budgets))
    except BudgetError:
        return
    for one in found:
        told = json.loads(json.dumps(one.to_json(), allow_nan=False))
        assert told.keys() >= KEYS
        numbers = [value for value in told.values() if isinstance(value, int | float)]
        assert all(math.isfinite(number) and number >= 0 for number in numbers)
        assert told["ram_bytes"] == told["peak_memory_bytes"] == one.memory.predicted_peak_bytes
        assert told["explanation"] == one.why() and "\n" not in one.why()
        known = told["decode_tokens_per_s"] is not None
        assert known == (told["time_to_first_token_s"] is not None) == (not isinstance(one.speed, Absent))
        assert not known or told["decode_tokens_per_s"] > 0


def test_a_gpu_of_unknown_bandwidth_is_used_only_where_nothing_else_fits() -> None:
    blind: Gpu = replace(GPU, bandwidth_bytes_per_s=NONE)
    machine = replace(BOX, gpus=(blind,))
    assert plan(Budgets(8 * GIB, 4 * GIB), machine=machine).placement.gpu is None
    assert plan(Budgets(3 * GIB, 6 * GIB), DENSE, machine=machine).placement.gpu is blind
