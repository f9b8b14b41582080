"""Converted models against transformers: the same logits, whatever config.json switches on."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.convert_cases import CASES
from bench.convert_peer import N_TOKENS, make
from sixgig.checkpoint import convert
from sixgig.checkpoint.conversion import recipe_of
from sixgig.families import recipes
from sixgig.families.terms.config import Config
from sixgig.inference.engine import Engine
from sixgig.inference.options import EngineOptions

transformers = pytest.importorskip("transformers")
MOST_NATS = 1e-6  # of KL divergence a position; float32 sums in another order give 1e-11
EXACT = functools.partial(
    EngineOptions, 512, threads=1, type_k="F32", type_v="F32", flash_attention="off", extra_buffers=False
)
CHOSEN = [
    "llama-tied-biased",
    "llama-biased",
    "llama3",
    "llama-yarn",
    "llama-yarn-factors",
    "llama-yarn-scales",
    "llama-linear",
    "llama-longrope",
    "llama-longrope-short",
    "llama-dynamic",
    "mistral-window",
    "mixtral",
    "qwen2-yarn",
    "qwen2-yarn-scales",
    "qwen2-window",
    "qwen2moe",
    "qwen3-tied",
    "qwen3moe",
    "qwen35moe",
    "seed_oss",
    "seed_oss-tied-yarn",
    "olmoe",
    "granitemoe-shared",
    "granitemoe-llama3",
    "gpt-oss-yarn",
    "deepseek-v2-yarn",
    "deepseek-v3-yarn",
    "glm4moe",
    "ernie4_5-moe",
    "hunyuan-moe-alpha",
    "dots1",
    "minimax-m2",
    "lfm2moe",
    "llama4-llama3",
    "qwen3vlmoe",
    "gemma3",
    "gemma3-pattern",
    "gemma3-full",
    "gemma3-yarn",
    "gemma3-vision",
    "mistral3",
    "mistral3-tied",
    "mistral3-vision",
    "phi3",
    "phi3-window",
    "phi3-longrope",
    "phi3-longrope-short",
    "gemma2",
    "granite",
    "granite-longrope",
    "smollm3",
    "olmo2",
    "olmo3",
    "glm4",
    "cohere2",
    "mistral4",
    "mistral4-vision",
]


@pytest.mark.parametrize("name", CHOSEN)
def test_the_engine_computes_what_transformers_does(name: str, tmp_path: Path) -> None:
    """On positions up to the GGUF's context, which ends where a window would begin to slide."""
    make(name, tmp_path / "m")
    convert(tmp_path / "m", tmp_path / "m.gguf")
    expected = np.load(tmp_path / "m" / "expected.npz")
    with Engine(tmp_path / "m.gguf", EXACT(all_logits=True)) as engine:
        n_tokens = min(N_TOKENS, engine.trained_context)
        found = engine.all_logits(expected["tokens"][:n_tokens].tolist())
    assert divergence(expected["logits"][:n_tokens], found) < MOST_NATS
    assert n_tokens == (32 if name.endswith("-window") else N_TOKENS)


def divergence(wanted: Any, found: Any) -> float:
    """The largest KL divergence of a position in nats."""
    left, right = (
        values - np.logaddexp.reduce(values, axis=-1, keepdims=True)
        for values in (wanted.astype(np.float64), found.astype(np.float64))
    )
    return float((np.exp(left) * (left - right)).sum(axis=-1).max())


def test_a_case_of_every_architecture_is_chosen() -> None:
    chosen = {recipe_of(Config(_announced(name))).architecture for name in CHOSEN}
    assert chosen == {recipe.architecture for recipe in recipes().values()} - {"qwen3next", "qwen35"}


def _announced(name: str) -> dict[str, Any]:
    class_name, values = CASES[name]
    return {**values, "architectures": [class_name]}


@pytest.mark.parametrize("name", recipes())
def test_values_that_are_not_there_are_those_of_transformers_class(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    class_name, _, kind = name.partition("/")
    values = {"text_config": {"model_type": kind}} if kind else {}
    made = getattr(transformers, class_name).config_class(**values)
    text = getattr(made, "text_config", made)
    for key, value in recipes()[name].defaults.items():
        where = made if key == "tie_word_embeddings" else text
        found = {**getattr(where, "__dict__", {}), **_bases(text)}
        assert value == found.get(key, getattr(where, key, value)), key


def _bases(text: Any) -> dict[str, float]:
    """Of the rotary frequencies: of all layers, or of full and of sliding ones."""
    rope = text.rope_parameters or {}
    if "full_attention" not in rope:
        return {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    full, sliding = (rope[f"{kind}_attention"]["rope_theta"] for kind in ("full", "sliding"))
    return {"rope_theta": full, "rope_local_base_freq": sliding}
