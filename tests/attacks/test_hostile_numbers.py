"""Numbers that fit no model: llama.cpp would end the process over each, so each is one refusal before that.

Every case was seen to abort, divide by zero or hang the pinned library when it reached it. The words tell who
refuses: our reader where our own arithmetic needs the number, the engine in a process that may die of it, or
the graph that the engine planned, where only a kernel would abort.
"""

import math
from collections.abc import Callable
from pathlib import Path
from struct import pack

import numpy as np
import pytest

from sixgig.errors import ModelFileError
from sixgig.inference import EngineOptions
from sixgig.inference.dry_load import dry_load
from sixgig.modelfile import open_model
from sixgig.modelfile.arrays import write_arrays
from sixgig.modelfile.metadata import NUMBER_FORMATS
from tests.described import families
from tests.tiny.edited import edited

FATAL: list[tuple[str, str, tuple[float, ...]]] = [
    ("qwen35moe", "attention.layer_norm_rms_epsilon", (-1.0, math.nan, math.inf)),
    ("qwen35moe", "rope.dimension_count", (0, 1, 3, 7, 2**16, 2**31 - 1, 2**32 - 1)),
    ("qwen35moe", "full_attention_interval", (0,)),
    ("qwen35moe", "ssm.inner_size", (0, 1, 7, 2**16)),
    ("qwen3moe", "rope.dimension_count", (0, 1, 32, 2**16, 2**32 - 1)),
    ("gpt-oss", "attention.key_length", (0, 1, 7, 2**16, 2**31)),
    ("gpt-oss", "attention.value_length", (0, 1, 7, 2**16, 2**31)),
    ("gpt-oss", "attention.sliding_window", (2**31 - 1, 2**31)),
    ("deepseek2", "attention.head_count_kv", (3, 7)),
    ("deepseek2", "attention.key_length", (1, 3, 7, 2**16)),
    ("deepseek2", "attention.key_length_mla", (1, 3, 7)),
    ("deepseek2", "rope.dimension_count", (2**16, 2**31 - 1, 2**32 - 1)),
    ("deepseek2", "expert_gating_func", (7, 2**16, 2**32 - 1)),
    ("mixtral", "attention.layer_norm_rms_epsilon", (-1.0, math.nan)),
    ("qwen3", "rope.dimension_count", (0, 1, 7, 2**16, 2**31)),
]
SMALL = EngineOptions(context=256, ubatch=32, threads=1)
CASES = [(model, name, value) for model, name, values in FATAL for value in values]


# What a mixture announces, and what it has: nothing that paging relies on.
ROUTING: dict[str, dict[str, object]] = {
    "no expert used": {"expert_used_count": 0},
    "more experts used than there are": {"expert_used_count": 9},
    "groups that do not divide": {"expert_group_count": 3, "expert_group_used_count": 1},
    "as many groups used as there are": {"expert_group_count": 2, "expert_group_used_count": 2},
    "groups of no expert": {"expert_group_count": 8},
}


def changed(path: Path, name: str, value: float, target: Path) -> Path:
    """A copy of the model with one number of its metadata replaced, bytes for bytes."""
    entry = next(one for one in open_model(path).metadata.entries if one.key.endswith("." + name))
    raw = pack("<" + NUMBER_FORMATS[entry.type], value)
    content = path.read_bytes()
    target.write_bytes(content[: entry.end - len(raw)] + raw + content[entry.end :])
    return target


def refusal(path: Path) -> str:
    """What is said of a file that is opened as every verb opens it."""
    with pytest.raises(ModelFileError) as refused:
        dry_load(open_model(path), SMALL)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300
    return str(refused.value)


@pytest.mark.parametrize(("model", "name", "value"), CASES)
def test_is_refused_in_one_line_and_the_process_lives(
    model: str, name: str, value: float, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    path = changed(tiny(model, "F16", expert_width=64), name, value, tmp_path / "hostile.gguf")
    words = refusal(path)
    assert f"{name} is not usable" in words or words.startswith(
        ("llama.cpp cannot open hostile.gguf", "llama.cpp cannot run hostile.gguf")
    )


def test_the_copy_with_its_own_number_opens(tiny: Callable[..., Path], tmp_path: Path) -> None:
    path = changed(
        tiny("qwen35moe", "F16", expert_width=64), "rope.dimension_count", 32, tmp_path / "same.gguf"
    )
    assert dry_load(open_model(path), SMALL).traits.generates


@pytest.mark.parametrize("name", ["layer_norm_rms", "layer_norm", "group_norm"])
@pytest.mark.parametrize("value", [-1e-6, 1.0, math.nan, math.inf])
def test_the_epsilon_of_a_norm_is_refused_by_name_in_every_architecture(
    name: str, value: float, tmp_path: Path
) -> None:
    """Some kernels abort on one, others give nonsense without a word."""
    key = f"attention.{name}_epsilon"
    for architecture in ("llama", "arctic", "nobody-declares-this"):
        pairs = {"general.architecture": architecture, f"{architecture}.{key}": value}
        write_arrays(tmp_path / "model.gguf", pairs, {"token_embd.weight": np.zeros((4, 32), np.float32)})
        with pytest.raises(ModelFileError, match=f"{architecture}.{key} is not usable"):
            open_model(tmp_path / "model.gguf")


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        *((family, "expert_gating_func", 0) for family in ("dots1", "lfm2moe", "bailingmoe2", "minimax-m2")),
        ("llama4", "attention.sliding_window_pattern", 1),
    ],
)
def test_what_llama_cpp_aborts_on_is_refused_in_families_without_a_tiny_model(
    family: str, name: str, value: int, tmp_path: Path
) -> None:
    assert open_model(families.write(family, tmp_path / "sound.gguf")).architecture == family
    words = refusal(families.write(family, tmp_path / "hostile.gguf", **{name: value}))
    assert words.startswith("llama.cpp cannot open hostile.gguf")


@pytest.mark.parametrize("case", ROUTING)
def test_a_routing_that_cannot_be_is_the_engines_refusal(
    case: str, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    changes = {f"qwen3moe.{name}": value for name, value in ROUTING[case].items()}
    words = refusal(edited(tiny("qwen3moe", "F16", expert_width=64), tmp_path / "hostile.gguf", changes))
    assert words.startswith("llama.cpp cannot open hostile.gguf; llama-model.cpp:")


def test_an_architecture_that_the_engine_does_not_know_is_named(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    source = tiny("llama", "F16")
    own = [key for key in open_model(source).metadata if key.startswith("llama.")]
    renamed = {key.replace("llama.", "nosuch."): open_model(source).metadata.get(key) for key in own}
    changes = dict.fromkeys(own) | renamed | {"general.architecture": "nosuch"}
    words = refusal(edited(source, tmp_path / "hostile.gguf", changes))
    assert "unknown model architecture: 'nosuch'" in words


@pytest.mark.parametrize("lie", ["no router", "a router for another number"])
def test_a_router_that_is_none_is_the_engines_refusal(
    lie: str, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "hostile.gguf"
    content = tiny("qwen3moe", "F16", expert_width=64).read_bytes()
    name, other = b"blk.0.ffn_gate_inp.weight", b"blk.0.ffn_gate_xyz.weight"
    if lie == "no router":
        path.write_bytes(content.replace(name, other))
    else:
        path.write_bytes(content.replace(name + pack("<IQQ", 2, 256, 8), name + pack("<IQQ", 2, 128, 16)))
    words = refusal(path)
    assert words.startswith("llama.cpp cannot load hostile.gguf") and "blk.0.ffn_gate_inp.weight" in words
