"""Numbers that fit no model: llama.cpp would end the process over each, so each must be refused before it.

Every case was seen to abort, divide by zero or hang the pinned library when it reached it.
"""

import math
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pytest

from sixgig.errors import ModelFileError
from sixgig.modelfile import open_model
from sixgig.modelfile.metadata import NUMBER_FORMATS
from tests.described import families

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
CASES = [(model, name, value) for model, name, values in FATAL for value in values]


def changed(path: Path, name: str, value: float, target: Path) -> Path:
    """A copy of the model with one number of its metadata replaced, bytes for bytes."""
    entry = next(one for one in open_model(path).metadata.entries if one.key.endswith("." + name))
    raw = pack("<" + NUMBER_FORMATS[entry.type], value)
    content = path.read_bytes()
    target.write_bytes(content[: entry.end - len(raw)] + raw + content[entry.end :])
    return target


@pytest.mark.parametrize(("model", "name", "value"), CASES)
def test_is_refused_by_name(
    model: str, name: str, value: float, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    path = changed(tiny(model, "F16", expert_width=64), name, value, tmp_path / "hostile.gguf")
    with pytest.raises(ModelFileError, match=r"is not usable"):
        open_model(path)


def test_the_copy_with_its_own_number_opens(tiny: Callable[..., Path], tmp_path: Path) -> None:
    path = changed(
        tiny("qwen35moe", "F16", expert_width=64), "rope.dimension_count", 32, tmp_path / "same.gguf"
    )
    assert open_model(path).n_layers == 4


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
    with pytest.raises(ModelFileError, match=f"{name} is not usable"):
        open_model(families.write(family, tmp_path / "hostile.gguf", **{name: value}))
