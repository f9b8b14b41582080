"""Llama and Mistral, dense, and Mixtral."""

import math

import numpy as np

from sixgig.checkpoint.blocks import (
    ROTARY_ATTENTION,
    common_keys,
    experts,
    feed_forward,
    fused_experts,
    norms,
    outside,
    router,
)
from sixgig.checkpoint.config import Config
from sixgig.checkpoint.recipe import Extra, Keys, Recipe


def llama_keys(config: Config) -> Keys:
    """All of a head is turned."""
    return common_keys(config, 10000.0) | {
        "rope.dimension_count": config.head_width,
        "vocab_size": config.integer("vocab_size"),
    }


def stretched_frequencies(config: Config) -> Extra:
    """Llama 3's divisors of the rotary frequencies, one per pair; nothing for other ways.

    Long waves are stretched by the factor, short ones not, those between in part. Source: the formula in
    transformers' modeling_rope_utils.
    """
    rope = config.rope
    if rope.text("rope_type", default="default") != "llama3":
        return {}
    factor, low = rope.number("factor", default=8.0), rope.number("low_freq_factor", default=1.0)
    high, trained = (
        rope.number("high_freq_factor", default=4.0),
        rope.integer("original_max_position_embeddings"),
    )
    width, base = config.head_width, np.float32(rope.number("rope_theta", default=10000.0))
    waves = 2 * math.pi * base ** (np.arange(0, width, 2, dtype=np.float32) / np.float32(width))
    share = np.clip((trained / waves - low) / (high - low), 0, 1) if high != low else trained / waves > low
    return {"rope_freqs.weight": (1 / ((1 - share) / factor + share)).astype(np.float32)}


RECIPES = (
    Recipe(
        "llama",
        ("LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM"),
        (
            *outside(),
            *norms(),
            *ROTARY_ATTENTION,
            *feed_forward(),
            *router("block_sparse_moe.gate"),
            *experts("block_sparse_moe.experts", ("w1", "w3", "w2")),
            *router(),
            *fused_experts(),
        ),
        llama_keys,
        stretched_frequencies,
    ),
)
