"""Scaled positions, windows, a temperature: the torch forward pass gives the engine's logits."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sixgig.finetune import attention
from sixgig.finetune.attention import attend
from sixgig.finetune.net import build_net
from sixgig.finetune.operands import Operands
from sixgig.inference import Engine
from sixgig.modelfile import open_model
from tests.tune.resident import ResidentWeights, forward_logits
from tests.tune.variants import (
    EXACT,
    PROMPT,
    engine_logits,
    fused,
    relative,
    tensors_of,
    torch_logits,
    write_variant,
)

Tiny = Callable[..., Path]
TIGHT, HALF = 3e-6, 1e-3  # of the largest logit; Gemma's GELU comes from a table in float16
YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32}
LONG = {"rope.scaling.type": "longrope", "rope.scaling.attn_factor": 1.3}
FACTORS = {
    f"rope_factors_{name}.weight": np.linspace(1, most, 32, dtype=np.float32)
    for name, most in (("long", 20), ("short", 3))
}
CASES: dict[str, tuple[str, Mapping[str, object]]] = {
    "YaRN of llama, with betas that its graph does not read": (
        "llama",
        YARN | {"rope.scaling.yarn_beta_fast": 2.0},
    ),
    "YaRN of qwen2": ("qwen2", YARN | {"rope.freq_base": 1e6}),
    "YaRN of qwen3, with a factor": ("qwen3", YARN | {"rope.scaling.attn_factor": 0.8}),
    "YaRN of gemma3, all but windows": ("gemma3", YARN),
    "YaRN of qwen3moe": ("qwen3moe", YARN),
    "YaRN of mistral3 without a multiplier": ("mistral3", {"rope.scaling.yarn_log_multiplier": None}),
    "YaRN of mistral3 with usual betas": (
        "mistral3",
        {"rope.scaling.yarn_beta_fast": None, "rope.scaling.yarn_beta_slow": None},
    ),
    "no temperature": ("mistral3", {"attention.temperature_scale": None}),
    "a temperature by the context": (
        "mistral3",
        {"rope.scaling.original_context_length": None, "context_length": 40},
    ),
    "linear scaling of gemma3, all but windows": ("gemma3", {"rope.scaling.factor": 8.0}),
    "another base of windows": ("gemma3", {"rope.freq_base_swa": 30.0}),
    "the usual base of windows": ("gemma3", {"rope.freq_base_swa": None, "rope.freq_base": 1e6}),
    "windows layer by layer": ("gemma3", {"attention.sliding_window_pattern": [False, True]}),
    "no window": ("gemma3", {"attention.sliding_window": 0}),
    "a window as long as the text": ("gemma3", {"attention.sliding_window": len(PROMPT)}),
    "capped logits": ("gemma3", {"final_logit_softcapping": 2.0}),
    "LongRoPE of phi3, for what it was trained with": (
        "phi3",
        {"rope.scaling.original_context_length": 2048},
    ),
    "LongRoPE of phi3, trained with its context": ("phi3", {"rope.scaling.original_context_length": None}),
    "sections that leave pairs of text still": ("qwen35moe", {"rope.dimension_sections": [3, 3, 3, 7]}),
    "LongRoPE's scale": ("phi3", {"rope.scaling.type": "longrope", "rope.scaling.factor": 2.0}),
}


@pytest.mark.parametrize("case", CASES)
def test_positions_are_as_the_file_says(tiny: Tiny, tmp_path: Path, case: str) -> None:
    """And it matters: the file without these pairs has other logits."""
    architecture, pairs = CASES[case]
    source = tiny(architecture, "F32", n_layers=4 if architecture == "qwen35moe" else 2, n_experts=4)
    changes = {f"{architecture}.{key}": value for key, value in pairs.items()}
    path = write_variant(source, tmp_path / "changed.gguf", tensors_of(source), changes)
    expected, near = engine_logits(path), HALF if architecture == "gemma3" else TIGHT
    assert relative(torch_logits(path), expected) < near
    assert relative(engine_logits(source), expected) > 10 * near


def test_a_scale_that_is_switched_off(tiny: Tiny, tmp_path: Path) -> None:
    source = tiny("qwen3", "F32", n_layers=2)
    changes = {"qwen3.rope.scaling.type": "none", "qwen3.rope.scaling.factor": 8.0}
    path = write_variant(source, tmp_path / "off.gguf", tensors_of(source), changes)
    assert relative(torch_logits(path), engine_logits(path)) < TIGHT
    assert np.array_equal(torch_logits(path), torch_logits(source))


@pytest.mark.parametrize("context", [256, 512])
def test_longrope_takes_the_factors_of_the_context(tiny: Tiny, tmp_path: Path, context: int) -> None:
    """As the engine does: by what it was opened with, not by what it was given."""
    source = tiny("llama", "F32", n_layers=2)
    changes = {f"llama.{key}": value for key, value in LONG.items()}
    changes["llama.rope.scaling.original_context_length"] = 256
    path = write_variant(source, tmp_path / "long.gguf", tensors_of(source) | FACTORS, changes)
    model = open_model(path)
    with Engine(model.parts, replace(EXACT, context=context)) as engine:
        expected = np.array(engine.all_logits(PROMPT))
    net, operands = build_net(model, context), Operands(ResidentWeights(model))
    with torch.no_grad():
        found = forward_logits(net, operands, torch.tensor(PROMPT), [len(PROMPT)]).numpy()
        other = forward_logits(
            build_net(model, 768 - context), operands, torch.tensor(PROMPT), [len(PROMPT)]
        ).numpy()
    assert relative(found, expected) < TIGHT < 0.01 < relative(other, expected)


def test_gemmas_largest_scales_by_its_stream(tiny: Tiny) -> None:
    """The engine knows it by its 62 layers; heads are wider than the stream over their number."""
    path = tiny("gemma3", "F32", n_layers=62, width=64, expert_width=32)
    found, expected = torch_logits(path), engine_logits(path)
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 5e-3
    path = tiny("gemma3", "F32", n_layers=61, width=64, expert_width=32)
    assert np.linalg.norm(torch_logits(path) - expected) / np.linalg.norm(expected) > 0.1


@pytest.mark.parametrize("queries_at_once", [1, 7, 16, 40, 512])
def test_a_window_is_the_same_however_many_queries_go_at_once(
    queries_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with all scores held and those out of sight masked."""
    monkeypatch.setattr(attention, "QUERIES_AT_ONCE", queries_at_once)
    documents, window, generator = (50, 3, 16, 17), 16, torch.Generator().manual_seed(1)
    q = torch.randn(sum(documents), 4, 8, generator=generator, dtype=torch.float64)
    k, v = (torch.randn(sum(documents), 2, 8, generator=generator, dtype=torch.float64) for _ in "kv")
    found, first = attend(q, k, v, documents, 0.5, window), 0
    for length in documents:
        rows = slice(first, first + length)
        heads = (q[rows], k[rows].repeat_interleave(2, 1), v[rows].repeat_interleave(2, 1))
        queries, keys, values = (each.transpose(0, 1) for each in heads)
        distance = torch.arange(length)[:, None] - torch.arange(length)
        scores = (0.5 * queries @ keys.mT).masked_fill((distance < 0) | (distance >= window), -torch.inf)
        torch.testing.assert_close(found[rows], (scores.softmax(-1) @ values).transpose(0, 1))
        first += length


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3", "mistral3", "qwen35moe"])
def test_matrices_that_a_file_keeps_in_one_are_the_same_model(
    tiny: Tiny, tmp_path: Path, architecture: str
) -> None:
    """Queries, keys and values, in any architecture, or experts' gate and up: the engine takes them so."""
    source = tiny(architecture, "F32", n_layers=4 if architecture == "qwen35moe" else 2)
    path = fused(source, tmp_path / "fused.gguf")
    assert relative(torch_logits(path), torch_logits(source)) < TIGHT
    assert relative(engine_logits(path), engine_logits(source)) < TIGHT
