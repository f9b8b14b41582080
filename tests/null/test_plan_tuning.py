"""How tuning is planned: within the budget, reading least, refusing with the number that works."""

import re
from itertools import chain, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sixgig.errors import BudgetError
from sixgig.planning import ProcessBytes, Tier, Use, anatomy
from sixgig.planning.pieces import HEAD_ELEMENTS, is_vector, pieces_of
from sixgig.planning.tuning import Batch, _scattered, adapter_weights, plan_tuning
from sixgig.units import parse_size
from tests.null import planned

MODELS = ("qwen3.5-122b", "qwen3-30b", "llama-8b", "mixtral-8x7b")
PROCESS = ProcessBytes(250 << 20, 60 << 20)
GIB = 1 << 30


def _anatomy(name: str):
    return anatomy(planned.model(name))


def _batch(model, tokens: int = 4096) -> Batch:
    return Batch(tokens, 1024, adapter_weights(model, 16))


@pytest.mark.parametrize("name", MODELS)
def test_pieces_hold_every_matrix_that_runs_exactly_once(name: str) -> None:
    model = _anatomy(name)
    pieces = pieces_of(model)
    held: dict[str, list[tuple[int, int]]] = {}
    for piece in pieces.forward():
        for part in piece.slices:
            held.setdefault(part.tensor.name, []).append((part.offset, part.size_bytes))
    inside = chain.from_iterable((*layer.dense, *layer.routed) for layer in model.layers)
    for tensor in (*inside, *model.head):
        if is_vector(tensor):
            assert tensor in pieces.vectors
            continue
        runs = sorted(held.pop(tensor.name))
        assert runs[0][0] == tensor.offset and sum(size for _, size in runs) == tensor.size_bytes
        assert all(a + size == b for (a, size), (b, _) in pairwise(runs))
    assert set(held) <= {tensor.name for tensor in model.embedding}  # a tied head


@settings(max_examples=40)
@given(name=st.sampled_from(MODELS), gib=st.floats(1, 200), tokens=st.sampled_from([1024, 4096, 16384]))
def test_a_plan_keeps_the_budget_or_the_refusal_names_one_that_works(name, gib, tokens) -> None:
    model = _anatomy(name)
    budget = int(gib * GIB)
    try:
        plan = plan_tuning(model, _batch(model, tokens), PROCESS, budget)
    except BudgetError as error:
        smallest = parse_size(re.search(r"--ram (\d+M)", str(error))[1])
        assert smallest > budget
        plan = plan_tuning(model, _batch(model, tokens), PROCESS, smallest)
        budget = smallest
    assert plan.predicted_peak_bytes + plan.margin_bytes <= budget
    assert plan.read_bytes <= 2 * (model.routed_bytes + model.dense_bytes)
    assert sum(piece.held_bytes for piece in plan.stays) == plan.held_bytes(Use.STAYING_WEIGHTS)


@settings(max_examples=40)
@given(name=st.sampled_from(MODELS), gib=st.floats(20, 100), more=st.floats(0, 60))
def test_more_memory_never_puts_more_activations_on_disk(name, gib, more) -> None:
    model = _anatomy(name)
    small = plan_tuning(model, _batch(model), PROCESS, int(gib * GIB))
    large = plan_tuning(model, _batch(model), PROCESS, int((gib + more) * GIB))
    assert large.n_on_disk <= small.n_on_disk


def test_a_model_that_fits_is_read_once() -> None:
    model = _anatomy("llama-8b")
    assert plan_tuning(model, _batch(model), PROCESS, 64 * GIB).read_bytes == 0


def test_a_gpu_that_is_too_small_is_refused_with_the_size_that_works() -> None:
    model = _anatomy("qwen3-30b")
    with pytest.raises(BudgetError, match="GPU's memory") as refused:
        plan_tuning(model, _batch(model), PROCESS, 16 * GIB, vram_bytes=GIB // 2)
    enough = parse_size(re.search(r"--vram (\d+M)", str(refused.value))[1])
    assert plan_tuning(model, _batch(model), PROCESS, 16 * GIB, enough).at(Tier.VRAM)


@pytest.mark.parametrize("name", MODELS)
def test_a_vocabulary_of_any_size_takes_one_part_of_the_head_in_float32(name: str) -> None:
    model = _anatomy(name)
    inside = [t.shape for layer in model.layers for t in (*layer.dense, *layer.routed) if len(t.shape) > 1]
    assert pieces_of(model).largest_matrix <= max(HEAD_ELEMENTS, *(a * b for a, b, *_ in inside))


def test_a_model_that_stays_whole_needs_no_room_to_read_into() -> None:
    plan = plan_tuning(_anatomy("llama-8b"), _batch(_anatomy("llama-8b")), PROCESS, 64 * GIB)
    assert plan.room_bytes == 0


@given(st.integers(1, 300))
def test_scattered_numbers_are_all_numbers_and_begin_evenly_spread(count: int) -> None:
    numbers = list(_scattered(count))
    assert sorted(numbers) == list(range(count))
    quarter = sorted(numbers[: max(1, count // 4)])
    assert max((b - a for a, b in pairwise(quarter)), default=0) <= max(8, count // 3)


def test_what_was_taken_before_tuning_counts_where_it_is_more() -> None:
    plan = plan_tuning(_anatomy("llama-8b"), _batch(_anatomy("llama-8b")), PROCESS, 64 * GIB)
    assert plan.with_peak(plan.predicted_peak_bytes - 1) is plan
    more = plan.with_peak(plan.predicted_peak_bytes + 9)
    assert more.predicted_peak_bytes == plan.predicted_peak_bytes + 9 and "reading DATA" in more.explain()
