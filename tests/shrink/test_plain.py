"""What "plain, of the same size" means: never larger, and so near below that equal bytes are compared."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sixgig.compress.choose import header_bytes
from sixgig.compress.plain import PLAIN, plain_file, plain_types
from sixgig.compress.types import bits, can_be_quantised, quantised_types
from sixgig.compress.write import Job, write_model
from sixgig.modelfile import TYPE_BY_NAME, open_model
from sixgig.weights.stored import StoredWeights

Tiny = Callable[..., Path]
METADATA = {"general.quantization_version": 2}
FIXTURE = [HealthCheck.function_scoped_fixture]


@pytest.fixture(scope="module")
def weights(tiny: Tiny) -> StoredWeights:
    return StoredWeights(open_model(tiny("qwen3moe", "F16", n_layers=4)))


@pytest.fixture(scope="module")
def sizes(weights: StoredWeights) -> tuple[int, int, int]:
    """(the header, the smallest plain file, the source's)."""
    head = header_bytes(weights, METADATA)
    smallest = next(
        size
        for size in range(head, weights.model.size_bytes, 4096)
        if plain_file(weights, size, head) is not None
    )
    return head, smallest, weights.model.size_bytes


@settings(max_examples=60, deadline=None, suppress_health_check=FIXTURE)
@given(share=st.floats(0, 0.95))
def test_a_plain_file_is_within_one_per_cent_of_the_size_and_never_larger(
    weights: StoredWeights, sizes: tuple[int, int, int], share: float
) -> None:
    head, smallest, largest = sizes
    size = smallest + int(share * (largest - smallest))
    found = plain_file(weights, size, head)
    assert found is not None and found.label.startswith("all ")
    assert 0.99 * size <= found.recipe.size_bytes <= size


@settings(max_examples=30, deadline=None, suppress_health_check=FIXTURE)
@given(share=st.floats(0, 0.95))
def test_it_is_of_one_type_or_of_two_neighbours(
    weights: StoredWeights, sizes: tuple[int, int, int], share: float
) -> None:
    head, smallest, largest = sizes
    found = plain_file(weights, smallest + int(share * (largest - smallest)), head)
    assert found is not None
    lower = found.label.split(",")[0].removeprefix("all ")
    below = plain_types(weights, lower)
    at = PLAIN.index(lower)
    upper = plain_types(weights, PLAIN[at - 1]) if at else {info.name: info.type for info in weights.tensors}
    for info in weights.tensors:
        assert found.recipe.types[info.name] in (below[info.name].name, upper[info.name].name)
        assert bits(TYPE_BY_NAME[found.recipe.types[info.name]]) >= bits(below[info.name])


def test_the_file_is_as_large_as_its_recipe_says_header_and_all(
    weights: StoredWeights, sizes: tuple[int, int, int], tmp_path: Path
) -> None:
    head, smallest, largest = sizes
    found = plain_file(weights, (smallest + largest) // 2, head)
    assert found is not None
    job = Job(weights, found.recipe.ggml_types(), lambda name: None, METADATA)
    write_model(job, tmp_path / "plain.gguf", 1)
    assert (tmp_path / "plain.gguf").stat().st_size == found.recipe.size_bytes


def test_below_the_smallest_type_there_is_none(weights: StoredWeights, sizes: tuple[int, int, int]) -> None:
    head, smallest, _ = sizes
    assert plain_file(weights, smallest - 4097, head) is None


def test_a_file_says_whether_its_weights_were_quantised(tiny: Tiny) -> None:
    assert quantised_types(open_model(tiny("llama", "F16"))) == ()
    assert quantised_types(open_model(tiny("llama", "BF16"))) == ()
    assert quantised_types(open_model(tiny("llama", "Q4_0"))) == ("Q4_0",)
    assert any(can_be_quantised(info) for info in StoredWeights(open_model(tiny("llama", "Q4_0"))).tensors)
