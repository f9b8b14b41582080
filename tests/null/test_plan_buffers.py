"""Weights are what the engine says; its compute buffers are estimated close by, and never far below."""

import pytest

from sixgig.inference.dry_load import dry_load, engine_bytes
from sixgig.inference.options import EngineOptions
from sixgig.planning import EngineBytes, Task, anatomy
from sixgig.planning.buffers import compute_bytes
from sixgig.planning.footprint import expert_width
from tests.described import NAMES, families
from tests.null import planned

TASKS = [Task(context=context, ubatch=ubatch) for context in (4096, 16384) for ubatch in (128, 512)]


def asked(name: str, task: Task) -> EngineBytes:
    options = EngineOptions(task.context, task.ubatch, threads=1, extra_buffers=False)
    return engine_bytes(dry_load(planned.model(name), options))


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_what_the_engine_loads(name: str) -> None:
    parts = anatomy(planned.model(name))
    assert parts.dense_bytes + parts.routed_bytes == asked(name, Task()).weights_bytes
    assert parts.routed_bytes == planned.model(name).routed_bytes


@pytest.mark.parametrize("name", families.FAMILIES)
def test_weights_that_do_not_run_are_not_counted(name: str) -> None:
    parts, options = anatomy(planned.family(name)), EngineOptions(256, threads=1, extra_buffers=False)
    loaded = engine_bytes(dry_load(planned.family(name), options)).weights_bytes
    assert parts.dense_bytes + parts.routed_bytes == loaded
    predicts = planned.family(name).hyperparameters.n_prediction_layers
    assert len(parts.layers) == 5 - predicts
    assert (loaded < planned.family(name).routed_bytes + planned.family(name).dense_bytes) == bool(predicts)


def test_compute_buffers_are_near_what_the_engine_reserves() -> None:
    ratios = {
        (name, task.context, task.ubatch): compute_bytes(anatomy(planned.model(name)), task)
        / asked(name, task).compute_bytes
        for name in NAMES
        for task in TASKS
    }
    assert min(ratios.values()) >= 0.93, ratios
    assert max(ratios.values()) <= 1.12, ratios


@pytest.mark.parametrize("name", families.FAMILIES)
def test_compute_buffers_of_other_families(name: str) -> None:
    """Of 16,384 positions, where the masks are most of it; small models overestimate shorter ones."""
    task, parts = Task(context=16384), anatomy(planned.family(name))
    options = EngineOptions(task.context, task.ubatch, threads=1, extra_buffers=False)
    reserved = engine_bytes(dry_load(planned.family(name), options)).compute_bytes
    assert 0.95 <= compute_bytes(parts, task) / reserved <= 1.12


@pytest.mark.parametrize(
    ("name", "width"), [("mixtral-8x7b", 14336), ("qwen3-30b", 768), ("gpt-oss-20b", 2880), ("llama-8b", 0)]
)
def test_the_width_of_experts_wider_or_narrower_than_the_hidden_state(name: str, width: int) -> None:
    assert expert_width(planned.model(name)) == width
