"""Llama and Mistral, dense, and Mixtral."""

from dataclasses import replace
from typing import Any

from sixgig.families.terms.blocks import Blocks, Pairs
from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import WIDTH_IS_FEED_FORWARD, DenseCuts, ExpertCuts, Freedom
from sixgig.families.terms.family import Family
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.rotary import TENSORS, stretching
from sixgig.families.terms.sources import (
    ROTARY_ATTENTION,
    common_keys,
    experts,
    feed_forward,
    fused_experts,
    norms,
    outside,
    router,
)

_PLAIN: dict[str, Any] = {
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "rope_theta": 10000.0,
}


def llama_keys(config: Config) -> Keys:
    """All of a head is turned."""
    return common_keys(config, takes=TENSORS) | {
        "rope.dimension_count": config.head_width,
        "vocab_size": config.integer("vocab_size"),
    }


_LLAMA = Recipe(
    ("LlamaForCausalLM",),
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
    stretching(TENSORS),
    defaults=_PLAIN,
)
FAMILY = Family(
    "llama",
    tuning=Blocks(Pairs.NEIGHBOURS, frequency_factors=True, biases=True),
    dense_cuts=DenseCuts(Freedom.UNIFORM, Freedom.UNIFORM, output_bias=True, carrier="deci"),
    expert_cuts=ExpertCuts(WIDTH_IS_FEED_FORWARD),
    recipes=(
        _LLAMA,
        replace(_LLAMA, names=("MistralForCausalLM",), defaults=_PLAIN | {"sliding_window": 4096}),
        replace(_LLAMA, names=("MixtralForCausalLM",), defaults=_PLAIN | {"rope_theta": 1e6}),
    ),
)
