"""What layers remember, read from metadata: defaults, lists, patterns, and numbers that cannot be."""

from collections.abc import Callable
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sixgig.errors import ModelFileError
from sixgig.modelfile import AttentionShape, Latent, Recurrent, open_model
from tests.attacks.raw import F32, STRING, U32, Raw, array, pair, text

BOOL = 7
Tiny = Callable[..., Path]


def shape(path: Path, n_layers: int = 1, **pairs: int | float | bytes) -> AttentionShape:
    """That of a small file; "__" stands for "." in keys, bytes are arrays spelled out."""
    raw = Raw()
    raw.pairs["llama.block_count"] = pair("llama.block_count", n_layers)
    for name, value in pairs.items():
        key = "llama." + name.replace("__", ".")
        raw.pairs[key] = text(key) + value if isinstance(value, bytes) else pair(key, value)
    return open_model(raw.write(path / "model.gguf")).attention


def listed(kind: int, values: list[int]) -> bytes:
    code = {U32: "I", BOOL: "?", F32: "f"}[kind]
    return array("", kind, len(values), pack(f"<{len(values)}{code}", *values))[8:]


def test_grouped_heads(tiny: Tiny) -> None:
    found = open_model(tiny("qwen3moe")).attention
    assert (found.n_heads, found.n_kv_heads) == ((4,) * 4, (2,) * 4)
    assert (found.key_length, found.value_length) == (64, 64)
    assert (found.sliding_key_length, found.window, found.latent, found.recurrent) == (64, 0, None, None)


def test_a_sliding_window(tiny: Tiny) -> None:
    assert open_model(tiny("gpt-oss")).attention.window == 16


def test_latent_attention(tiny: Tiny) -> None:
    found = open_model(tiny("deepseek2")).attention
    assert found.latent == Latent(rank=64, n_rotary=32, key_length=64, value_length=32)
    assert (found.n_kv_heads, found.key_length, found.value_length) == ((1,) * 4, 96, 64)


def test_recurrent_layers(tiny: Tiny) -> None:
    found = open_model(tiny("qwen35moe")).attention
    assert found.recurrent == Recurrent(4, 32, group_count=4, time_step_rank=8, inner_size=256)
    assert found.full_attention_interval == 4


def test_widths_of_the_feed_forward(tiny: Tiny) -> None:
    numbers = open_model(tiny("deepseek2", expert_width=64)).hyperparameters
    assert numbers.feed_forward_lengths == (256,) * 4 and numbers.expert_feed_forward_length == 64
    numbers = open_model(tiny("qwen35moe")).hyperparameters
    assert numbers.shared_expert_feed_forward_length == 256


def test_what_is_not_said(tmp_path: Path) -> None:
    found = shape(tmp_path)
    assert (found.n_heads, found.n_kv_heads, found.key_length) == ((0,), (0,), 0)
    assert (found.window_period, found.window_layers, found.recurrent_layers) == (0, (), ())


def test_widths_follow_the_heads(tmp_path: Path) -> None:
    found = shape(tmp_path, attention__head_count=4)
    assert (found.n_kv_heads, found.key_length, found.value_length) == ((4,), 8, 8)
    found = shape(tmp_path, attention__head_count=4, attention__key_length=16, attention__key_length_swa=2)
    assert (found.key_length, found.value_length) == (16, 8)
    assert (found.sliding_key_length, found.sliding_value_length) == (2, 8)


def test_layers_of_their_own(tmp_path: Path) -> None:
    found = shape(
        tmp_path,
        3,
        attention__head_count=4,
        attention__head_count_kv=listed(U32, [2, 0, 1]),
        attention__sliding_window_pattern=listed(BOOL, [1, 0, 1]),
        attention__recurrent_layers=listed(U32, [0, 1, 0]),
        shortconv__l_cache=3,
        feed_forward_length=listed(U32, [8, 16, 24]),
    )
    assert (found.n_heads, found.n_kv_heads) == ((4, 4, 4), (2, 0, 1))
    assert found.window_layers == (True, False, True) and found.recurrent_layers == (False, True, False)
    assert found.conv_cache == 3
    for one in (0, 1, 7):  # one number for all layers, as llama.cpp reads it
        assert shape(tmp_path, 3, attention__recurrent_layers=one).recurrent_layers == (one > 0,) * 3
    assert shape(tmp_path, attention__sliding_window_pattern=6).window_period == 6


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attention.head_count_kv", 2**16 + 1),
        ("attention.head_count_kv", listed(U32, [1, 2])),
        ("attention.head_count_kv", listed(U32, [2**32 - 1])),
        ("attention.key_length_swa", 2**31),
        ("attention.sliding_window_pattern", listed(BOOL, [1, 0])),
        ("attention.sliding_window_pattern", listed(U32, [2])),
        ("attention.sliding_window_pattern", 2**31),
        ("attention.recurrent_layers", listed(U32, [1, 0])),
        ("attention.recurrent_layers", array("", STRING, 1, text("yes"))[8:]),
        ("ssm.conv_kernel", 2**31),
        ("shortconv.l_cache", 2**17),
        ("feed_forward_length", listed(U32, [1, 2, 3])),
        ("feed_forward_length", 2**31),
    ],
)
def test_numbers_that_cannot_be_name_their_key(name: str, value: int | bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=rf"llama\.{name}.* is not usable"):
        shape(tmp_path, **{name.replace(".", "__"): value})


@pytest.mark.parametrize("name", ["attention.head_count_kv", "full_attention_interval"])
def test_fractions_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=rf"llama\.{name} must be"):
        shape(tmp_path, **{name.replace(".", "__"): 1.5})


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_lists_are_taken_as_they_are_or_refused(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("listed")
    if max(counts) <= 2**16:
        assert shape(path, len(counts), attention__head_count_kv=listed(U32, counts)).n_kv_heads == tuple(
            counts
        )
    else:
        with pytest.raises(ModelFileError, match="head_count_kv"):
            shape(path, len(counts), attention__head_count_kv=listed(U32, counts))
