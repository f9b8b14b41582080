"""The size that fits a budget, checked by planning a model of that size."""

from dataclasses import replace

import pytest

from sixgig.errors import BudgetError
from sixgig.modelfile import ModelFile
from sixgig.planning import (
    MEASURED,
    Budgets,
    EngineBytes,
    ModelNeeds,
    Placement,
    Task,
    anatomy,
    estimated_engine,
    estimated_process,
    fit,
)
from sixgig.planning.sizing import room_for_weights
from tests.null.planned import GIB, MIB, model

TASK = Task(context=4096)
SLACK = 4 * MIB


def scaled(source: ModelFile, size: int) -> ModelFile:
    """The model with weights of that many bytes."""
    whole = sum(tensor.size_bytes for tensor in source.tensors)
    tensors = tuple(replace(t, size_bytes=int(t.size_bytes * size / whole)) for t in source.tensors)
    return replace(source, tensors=tensors)


def plan(source: ModelFile, size: int, ram_bytes: int, task: Task) -> None:
    """Raises BudgetError unless it runs unpaged."""
    made = scaled(source, size)
    parts = anatomy(made)
    engine = estimated_engine(parts, task, Placement(), paged=False)
    needs = ModelNeeds(parts, task).of("unpaged", engine, estimated_process(parts, task))
    fit([needs], Budgets(ram_bytes))


@pytest.mark.parametrize(
    ("ram_bytes", "context"), [(4 * GIB, 512), (24 * GIB, 512), (24 * GIB, 32768), (64 * GIB, 32768)]
)
@pytest.mark.parametrize("name", ["qwen3-8b", "llama-8b", "qwen3-30b", "qwen3.5-122b", "gpt-oss-20b"])
def test_a_model_of_that_size_runs_whole_and_a_little_more_does_not(
    name: str, ram_bytes: int, context: int
) -> None:
    source, task = model(name), Task(context=context)
    room = room_for_weights(source, task, Budgets(ram_bytes))
    assert 0 < room < ram_bytes
    plan(source, room - SLACK, ram_bytes, task)
    with pytest.raises(BudgetError):
        plan(source, room + SLACK, ram_bytes, task)


def test_more_memory_and_less_context_leave_more() -> None:
    source = model("qwen3-8b")
    rooms = [room_for_weights(source, TASK, Budgets(n * GIB)) for n in (2, 4, 8, 16)]
    assert rooms == sorted(rooms)
    contexts = [room_for_weights(source, Task(context=n), Budgets(8 * GIB)) for n in (512, 4096, 32768)]
    assert contexts == sorted(contexts, reverse=True)
    growth = contexts[1] - contexts[2]
    assert growth == pytest.approx(28672 * 36 * 8 * 128 * 2 * 2, rel=0.1), "the cache of Qwen3-8B in F16"


def test_a_gpu_adds_its_memory_less_the_drivers() -> None:
    source = model("qwen3-30b")
    without, small, large = (
        room_for_weights(source, TASK, Budgets(24 * GIB, vram)) for vram in (0, 6 * GIB, 12 * GIB)
    )
    assert without < small < without + 6 * GIB
    assert large - small == pytest.approx(6 * GIB, rel=0.02)
    assert room_for_weights(source, TASK, Budgets(24 * GIB, 100 * MIB)) == pytest.approx(without, rel=0.01)


@pytest.mark.parametrize(("ram_bytes", "context"), [(0, 4096), (64 * MIB, 4096), (2 * GIB, 131072)])
def test_no_room_is_told_with_what_takes_it(ram_bytes: int, context: int) -> None:
    source = model("qwen3-8b")
    with pytest.raises(BudgetError, match=rf"no weights fit in .*context of {context}; .*--context"):
        room_for_weights(source, Task(context=context), Budgets(ram_bytes))


def test_where_the_engine_told_what_a_context_takes_that_counts_and_no_estimate() -> None:
    """Nobody has checked the header's estimate for architectures without a declaration."""
    source, budgets = model("qwen3-8b"), Budgets(8 * GIB)
    rooms = [
        room_for_weights(source, TASK, budgets, EngineBytes(0, context_bytes, 100 * MIB, MEASURED))
        for context_bytes in (GIB, 2 * GIB)  # more than is held while loading
    ]
    assert rooms[0] - rooms[1] == pytest.approx(GIB, abs=SLACK)
    with pytest.raises(BudgetError, match="no weights fit"):
        room_for_weights(source, TASK, budgets, EngineBytes(0, 8 * GIB, 0))
