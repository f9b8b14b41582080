"""The torch forward passes give llama.cpp's logits, for every family and every setting they cover."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.tune.variants import (
    ARCHITECTURES,
    engine_logits,
    relative,
    tensors_of,
    torch_logits,
    write_variant,
)

Tiny = Callable[..., Path]
TIGHT = 3e-6  # relative to the largest logit; measured 5e-7 to 8e-7
HALF = 5e-4  # of Gemma: the engine takes GELU from a table in float16; measured 1.6e-4
QUANTISED = [
    ("llama", "Q4_K"),
    ("mixtral", "Q6_K"),
    ("qwen3", "Q8_0"),
    ("qwen3moe", "IQ4_XS"),
    ("qwen35moe", "Q4_K"),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_float32_files_give_the_engines_logits(tiny: Tiny, architecture: str) -> None:
    path = tiny(architecture, "F32")
    assert relative(torch_logits(path), engine_logits(path)) < (HALF if architecture == "gemma3" else TIGHT)


@pytest.mark.parametrize(("architecture", "type_name"), QUANTISED)
def test_quantised_files_give_the_logits_of_their_weights(
    tiny: Tiny, tmp_path: Path, architecture: str, type_name: str
) -> None:
    """Those of a float32 copy; on the file itself the engine rounds activations too, to 8 bits: the floor."""
    path = tiny(architecture, type_name)
    copy = write_variant(path, tmp_path / "copy.gguf", tensors_of(path))
    found = torch_logits(path)
    assert relative(found, engine_logits(copy)) < TIGHT
    direct = engine_logits(path)
    # In norm, 0.01 to 0.06 measured; single logits differ more where a near tie is routed another way.
    assert 1e-3 < np.linalg.norm(found - direct) / np.linalg.norm(direct) < 0.1


# What the file says, with the tensors it adds to the 2 layers of a tiny Llama.
def _plain(random: np.random.Generator) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    return {"llama.rope.freq_base": 500.0}, {}


def _linear(random: np.random.Generator) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    return {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}, {}


def _old_linear(random: np.random.Generator) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    return {"llama.rope.scale_linear": 2.5}, {}


def _factors(random: np.random.Generator) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    return {}, {"rope_freqs.weight": random.uniform(1, 8, 32).astype(np.float32)}


def _biases(random: np.random.Generator) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    lengths = {"attn_q": 256, "attn_k": 128, "attn_v": 128, "attn_output": 256}
    lengths |= {"ffn_gate": 256, "ffn_up": 256, "ffn_down": 256}
    return {}, {
        f"blk.{layer}.{name}.bias": random.normal(0, 0.5, length).astype(np.float32)
        for layer in range(2)
        for name, length in lengths.items()
    }


@pytest.mark.parametrize("change", [_plain, _linear, _old_linear, _factors, _biases])
def test_what_a_llama_file_declares_is_computed(tiny: Tiny, tmp_path: Path, change: Callable) -> None:
    """And it matters: without it the logits would differ a thousand times more than they do."""
    source = tiny("llama", "F32", n_layers=2)
    pairs, extra = change(np.random.default_rng(1))
    path = write_variant(source, tmp_path / "changed.gguf", tensors_of(source) | extra, pairs)
    expected = engine_logits(path)
    assert relative(torch_logits(path), expected) < TIGHT
    assert relative(engine_logits(source), expected) > 1000 * TIGHT


def test_tied_embeddings_are_the_head(tiny: Tiny, tmp_path: Path) -> None:
    source = tiny("qwen3", "F32", n_layers=2)
    tensors = tensors_of(source)
    del tensors["output.weight"]
    path = write_variant(source, tmp_path / "tied.gguf", tensors)
    assert relative(torch_logits(path), engine_logits(path)) < TIGHT


def test_layers_for_multi_token_prediction_are_left_out(tiny: Tiny, tmp_path: Path) -> None:
    """The engine leaves them out too: a fifth layer, attention with a head of its own."""
    source = tiny("qwen35moe", "F32", n_layers=8, n_experts=4)
    random, tensors = np.random.default_rng(2), {}
    for name, values in tensors_of(source).items():
        if not name.startswith(("blk.4.", "blk.5.", "blk.6.")):
            tensors[name.replace("blk.7.", "blk.4.")] = values
    shapes = {"eh_proj": (256, 512), "enorm": (256,), "hnorm": (256,)}
    for name, shape in shapes.items():
        tensors[f"blk.4.nextn.{name}.weight"] = random.normal(0, 0.1, shape).astype(np.float32)
    changes = {"qwen35moe.block_count": 5, "qwen35moe.nextn_predict_layers": 1}
    path = write_variant(source, tmp_path / "predicting.gguf", tensors, changes)
    assert relative(torch_logits(path), engine_logits(path)) < TIGHT
