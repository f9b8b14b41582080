"""Recipes: within the budget to the byte, the best by enumeration, and the file is as large as promised."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sixgig.compress import types
from sixgig.compress.choose import choose, header_bytes, smallest_bytes, stored_bytes
from sixgig.compress.distortion import Distortion, Distortions
from sixgig.compress.types import candidates
from sixgig.compress.write import Job, write_model
from sixgig.errors import BudgetError
from sixgig.families import Role
from sixgig.modelfile import TYPE_BY_NAME, open_model
from sixgig.modelfile.writer import PAGE_BYTES
from sixgig.weights.stored import StoredWeights, WeightInfo

Tiny = Callable[..., Path]
METADATA: Mapping[str, object] = {"general.quantization_version": 2, "a.note": "words"}
FIXTURE = [HealthCheck.function_scoped_fixture]


@pytest.fixture(scope="module")
def weights(tiny: Tiny) -> StoredWeights:
    return StoredWeights(open_model(tiny("qwen3moe", "F16", n_layers=2)))


def drawn(weights: StoredWeights, seed: int) -> Distortions:
    """Errors that fall with the bits, from the seed."""
    random = np.random.default_rng(seed)
    found = {}
    for info in weights.tensors:
        kinds = candidates(info)
        errors = [*sorted(random.exponential(0.1, len(kinds) - 1), reverse=True), 0.0]
        names = [kind.name for kind in kinds]
        found[info.name] = Distortion(dict(zip(names, map(float, errors), strict=True)), 1.0)
    return found


def costs(weights: StoredWeights, seed: int) -> dict[str, float]:
    random = np.random.default_rng(seed + 1)
    return {info.name: float(random.exponential()) for info in weights.tensors}


@settings(max_examples=25, deadline=None, suppress_health_check=FIXTURE)
@given(st.integers(0, 1000), st.floats(0, 1.2))
def test_no_recipe_passes_its_budget(weights: StoredWeights, seed: int, share: float) -> None:
    head = header_bytes(weights, METADATA)
    smallest = smallest_bytes(weights, head)
    budget = smallest + int(share * (weights.model.size_bytes - smallest))
    distortions, prices = drawn(weights, seed), costs(weights, seed)
    recipe = choose(weights, distortions, prices, budget, head)
    kinds = recipe.ggml_types()
    assert recipe.size_bytes <= budget
    assert recipe.size_bytes == head + sum(stored_bytes(info, kinds[info.name]) for info in weights.tensors)
    assert all(kinds[info.name] in candidates(info) for info in weights.tensors)
    loss = sum(prices[name] * distortions[name].errors[kind] for name, kind in recipe.types.items())
    assert recipe.expected_loss == pytest.approx(loss)


class Few:
    """Three small tensors of a model."""

    def __init__(self, base: StoredWeights) -> None:
        self.model, self.changes = base.model, base.changes
        shapes = {"a": (256, 64), "b": (512, 100), "c": (64, 40)}
        self.tensors = tuple(
            WeightInfo(f"{name}.weight", shape, TYPE_BY_NAME["BF16"], Role.HEAD, None)
            for name, shape in shapes.items()
        )


@settings(max_examples=15, deadline=None, suppress_health_check=FIXTURE)
@given(st.integers(0, 1000), st.floats(0, 1))
def test_no_recipe_of_that_size_loses_less(weights: StoredWeights, seed: int, share: float) -> None:
    few = Few(weights)
    distortions, prices = drawn(few, seed), costs(few, seed)  # type: ignore[arg-type]
    smallest, largest = (
        sum(f(stored_bytes(i, kind) for kind in candidates(i)) for i in few.tensors) for f in (min, max)
    )
    budget = 4096 + smallest + int(share * (largest - smallest))
    recipe = choose(few, distortions, prices, budget, 4096)  # type: ignore[arg-type]
    best = min(
        sum(
            prices[i.name] * distortions[i.name].errors[kind.name]
            for i, kind in zip(few.tensors, kinds, strict=True)
        )
        for kinds in itertools.product(*(candidates(info) for info in few.tensors))
        if 4096 + sum(stored_bytes(i, kind) for i, kind in zip(few.tensors, kinds, strict=True)) <= budget
    )
    assert recipe.expected_loss == pytest.approx(best, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_the_file_is_exactly_as_large_as_the_recipe_says(
    weights: StoredWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(types, "_SUPER_BLOCKS", ("Q2_K", "Q3_K", "Q4_K", "Q6_K"))
    head = header_bytes(weights, METADATA)
    smallest = smallest_bytes(weights, head)
    budget = smallest + int(share * (weights.model.size_bytes - smallest))
    recipe = choose(weights, drawn(weights, 3), costs(weights, 3), budget, head)
    job = Job(weights, recipe.ggml_types(), lambda name: None, METADATA)
    write_model(job, tmp_path / "made.gguf", 2)
    made = open_model(tmp_path / "made.gguf")
    assert made.size_bytes == recipe.size_bytes <= budget
    assert {tensor.name: tensor.type.name for tensor in made.tensors} == recipe.types
    assert len(job.layout().header) == head
    if share == 0:
        assert made.size_bytes == smallest


def test_one_page_below_the_smallest_is_refused(weights: StoredWeights) -> None:
    head = header_bytes(weights, METADATA)
    smallest = smallest_bytes(weights, head)
    distortions, prices = drawn(weights, 1), costs(weights, 1)
    assert choose(weights, distortions, prices, smallest, head).size_bytes == smallest
    with pytest.raises(BudgetError):
        choose(weights, distortions, prices, smallest - 1, head)


def test_with_room_for_everything_nothing_is_lost(weights: StoredWeights) -> None:
    head = header_bytes(weights, METADATA)
    room = 2 * weights.model.size_bytes
    recipe = choose(weights, drawn(weights, 1), costs(weights, 1), room, head)
    assert recipe.expected_loss == 0
    assert recipe.types == {info.name: info.type.name for info in weights.tensors}


def test_what_matters_more_gets_more_bits(weights: StoredWeights) -> None:
    distortions = {
        info.name: Distortion(
            {kind.name: 4.0 ** -(8 * kind.block_bytes / kind.block_elements) for kind in candidates(info)},
            1.0,
        )
        for info in weights.tensors
    }
    dear, cheap = "blk.0.ffn_up_exps.weight", "blk.1.ffn_up_exps.weight"
    prices = {info.name: 1.0 for info in weights.tensors} | {dear: 1000.0, cheap: 0.001}
    head = header_bytes(weights, METADATA)
    kinds = choose(weights, distortions, prices, weights.model.size_bytes // 4, head).ggml_types()
    sizes = [kinds[name].block_bytes / kinds[name].block_elements for name in (dear, cheap)]
    assert sizes[0] > 1.5 * sizes[1]


def test_types_without_a_measured_error_are_not_chosen(weights: StoredWeights) -> None:
    """A tensor whose other types were not tried keeps its own."""
    name = "blk.0.ffn_up_exps.weight"
    distortions = {**drawn(weights, 1), name: Distortion({"F16": 0.0}, 1.0)}
    head = header_bytes(weights, METADATA)
    recipe = choose(weights, distortions, costs(weights, 1), weights.model.size_bytes // 2, head)
    assert recipe.types[name] == "F16"


def test_the_header_does_not_depend_on_types_and_stored_bytes_are_pages(weights: StoredWeights) -> None:
    head = header_bytes(weights, METADATA)
    assert head % PAGE_BYTES == 0 and head < 2 * PAGE_BYTES + 64 * 1024
    info = WeightInfo("x", (256, 3), TYPE_BY_NAME["F16"], Role.HEAD, None)
    assert stored_bytes(info, TYPE_BY_NAME["Q2_K"]) == PAGE_BYTES
    wide = WeightInfo("x", (256, 8 * 4096), TYPE_BY_NAME["F16"], Role.HEAD, None)
    assert stored_bytes(wide, TYPE_BY_NAME["Q4_K"]) == 144 * 8 * 4096
