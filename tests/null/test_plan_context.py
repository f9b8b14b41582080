"""What a context takes is what the engine itself says, to the byte."""

import pytest

from sixgig.inference.dry_load import dry_load, engine_bytes
from sixgig.inference.options import EngineOptions
from sixgig.modelfile import ModelFile, open_model
from sixgig.planning import Task, anatomy
from sixgig.planning.context import context_bytes, growth_bytes
from tests.described import NAMES, families
from tests.null import planned
from tests.tiny.models import DENSE, MIXTURES

CONTEXTS = (1, 256, 300, 4096, 16384)
CACHES = (("F16", "F16"), ("Q8_0", "Q8_0"), ("F32", "F32"), ("Q8_0", "F16"), ("F16", "Q4_0"))


def asked(model: ModelFile, task: Task) -> int:
    """The engine's figure."""
    options = EngineOptions(
        task.context, task.ubatch, 1, task.type_k, task.type_v, extra_buffers=False, sequences=task.sequences
    )
    return engine_bytes(dry_load(model, options)).context_bytes


def assert_equal(model: ModelFile, *tasks: Task) -> None:
    parts = anatomy(model)
    told = {task: sum(context_bytes(parts, task)) for task in tasks}
    assert told == {task: asked(model, task) for task in tasks}


@pytest.mark.parametrize("architecture", [*DENSE, *MIXTURES])
def test_every_length_ubatch_and_type_of_cache(tiny, architecture) -> None:
    model = open_model(tiny(architecture))
    lengths = [Task(context=n, ubatch=ubatch) for n in CONTEXTS for ubatch in (1, 32, 128, 512, 1024)]
    assert_equal(model, *lengths, *(Task(context=300, type_k=k, type_v=v) for k, v in caches(model)))


@pytest.mark.parametrize("architecture", [*DENSE, *MIXTURES])
def test_sequences_side_by_side_have_a_context_each(tiny, architecture) -> None:
    model = open_model(tiny(architecture))
    assert_equal(model, *(Task(context=n, ubatch=64, sequences=s) for n in (1, 300, 4096) for s in (2, 3, 8)))


def caches(model: ModelFile) -> list[tuple[str, str]]:
    """What the engine takes: latent attention caches keys only, and wants both types named alike."""
    return [(k, v) for k, v in CACHES if k == v or model.attention.latent is None]


@pytest.mark.parametrize("name", NAMES)
def test_models_of_real_sizes(name: str) -> None:
    types = [Task(context=4096, type_k=k, type_v=v) for k, v in CACHES[1:3]]
    assert_equal(planned.model(name), Task(context=16384, ubatch=128), Task(context=300), *types)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_other_family(name: str) -> None:
    tasks = [Task(context=n, ubatch=128) for n in (1, 300, 16384)]
    model = planned.family(name)
    values = "F32" if model.attention.latent is None else "Q8_0"
    assert_equal(model, *tasks, Task(context=16384, type_k="Q8_0", type_v=values))


@pytest.mark.parametrize(
    "keys",
    [
        {"attention.sliding_window": 8192},
        {"attention.sliding_window": 512},  # llama.cpp goes on with 8192
        {"attention.sliding_window": 0},  # no layer slides
        {"attention.sliding_window_pattern": 2},
        {"attention.sliding_window_pattern": [True, False, False, True, False]},
    ],
    ids=str,
)
def test_which_layers_of_llama4_slide(tmp_path, keys) -> None:
    model = open_model(families.write("llama4", tmp_path / "m.gguf", **keys))
    assert_equal(model, Task(context=16384, ubatch=128), Task(context=16384, ubatch=512), Task(context=300))


@pytest.mark.parametrize(
    "keys",
    [
        {"attention.sliding_window": 0},
        {"attention.sliding_window_pattern": 3},
        {"attention.sliding_window_pattern": [True, False, False, True, False]},
        {"block_count": 7},
    ],
    ids=str,
)
def test_which_layers_of_gemma3_slide(tmp_path, keys) -> None:
    model = open_model(families.write("gemma3", tmp_path / "m.gguf", **keys))
    assert_equal(model, Task(context=16384, ubatch=128), Task(context=16384, ubatch=512), Task(context=300))


def test_a_sliding_window_holds_less_than_the_context() -> None:
    sizes = context_bytes(anatomy(planned.model("gpt-oss-20b")), Task(context=16384))
    assert sizes[0] < sizes[1] / 20 and sizes[:2] * 12 == sizes


@pytest.mark.parametrize("name", ["qwen3.5-122b", "gpt-oss-20b", "qwen3-30b"])
def test_one_more_position_takes_a_row_in_layers_that_hold_them_all(name: str) -> None:
    parts, short, long = anatomy(planned.model(name)), Task(context=8192), Task(context=8448)
    more = sum(context_bytes(parts, long)) - sum(context_bytes(parts, short))
    assert growth_bytes(parts, short, len(parts.layers)) * 256 == more > 0
    assert growth_bytes(parts, short, 0) == 0
