"""Hugging Face folders small enough to be shrunk in seconds: the same model with other weights by seed."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.null.test_checkpoint import CONFIG, N_TOKENS, Tensors, bf16, tokenizer, write_safetensors

WIDTH, HIDDEN, N_HEADS = 256, 256, 4
SETTINGS: dict[str, Any] = CONFIG | {
    "hidden_size": WIDTH,
    "intermediate_size": HIDDEN,
    "num_hidden_layers": 1,
    "num_attention_heads": N_HEADS,
    "num_key_value_heads": N_HEADS,
    "max_position_embeddings": 1024,
}
SIZE = "400K"


def folder_of(path: Path, seed: int) -> Path:
    """A folder with weights of its own."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(SETTINGS))
    (path / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}))
    write_safetensors(path / "model.safetensors", _tensors(seed))
    return path


def _tensors(seed: int) -> Tensors:
    random = np.random.default_rng(seed)

    def matrix(n_out: int, n_in: int) -> tuple[str, Any]:
        return "BF16", bf16(random.normal(0, n_in**-0.5, (n_out, n_in)).astype(np.float32))

    norm = ("BF16", bf16(np.ones(WIDTH, np.float32)))
    layer = "model.layers.0."
    found: Tensors = {f"{layer}self_attn.{name}_proj.weight": matrix(WIDTH, WIDTH) for name in "qkvo"}
    found |= {f"{layer}mlp.{name}_proj.weight": matrix(HIDDEN, WIDTH) for name in ("gate", "up")}
    found[f"{layer}mlp.down_proj.weight"] = matrix(WIDTH, HIDDEN)
    found |= {f"{layer}{name}_layernorm.weight": norm for name in ("input", "post_attention")}
    found["model.norm.weight"] = norm
    found |= {name: matrix(N_TOKENS, WIDTH) for name in ("model.embed_tokens.weight", "lm_head.weight")}
    return found
