"""Llama 4: some layers routed (top 1) beside one shared expert, the others dense."""

from sixgig.checkpoint.blocks import LAYER, attention, common_keys, feed_forward, norms, outside, weight
from sixgig.checkpoint.config import Config
from sixgig.checkpoint.llama import stretched_frequencies
from sixgig.checkpoint.recipe import Keys, Recipe, Rule
from sixgig.checkpoint.transforms import outputs_half, require, transposed

_EXPERTS = f"{LAYER}feed_forward.experts."
_UNNORMED_EXPERTS = 128  # llama.cpp knows by this count that heads are not normed


def llama4_keys(config: Config) -> Keys:
    """With which layers are routed, and that all look back without limit where they do."""
    normed = config.flag("use_qk_norm", default=True)
    numbers = f"use_qk_norm {normed} with {config.n_experts} experts"
    require(
        normed == (config.n_experts != _UNNORMED_EXPERTS), "config.json: llama.cpp norms by count", numbers
    )
    keys: Keys = {
        "feed_forward_length": config.integer("intermediate_size_mlp"),
        "expert_feed_forward_length": config.integer("intermediate_size"),
        "interleave_moe_layer_step": config.integer("interleave_moe_layer_step"),
        "rope.dimension_count": config.head_width,
        "vocab_size": config.integer("vocab_size"),
    }
    kinds = config.layer_kinds
    if kinds and all(kind == "full_attention" for kind in kinds):
        keys["attention.sliding_window"] = 0
    return common_keys(config) | keys


RECIPES = (
    Recipe(
        "llama4",
        ("Llama4ForConditionalGeneration", "Llama4ForCausalLM"),
        (
            *outside(),
            *norms(),
            *attention(),
            *feed_forward("feed_forward"),
            *weight("feed_forward.router", "ffn_gate_inp"),
            Rule(f"{_EXPERTS}gate_up_proj", "blk.{layer}.ffn_gate_exps.weight", outputs_half(0)),
            Rule(f"{_EXPERTS}gate_up_proj", "blk.{layer}.ffn_up_exps.weight", outputs_half(1)),
            Rule(f"{_EXPERTS}down_proj", "blk.{layer}.ffn_down_exps.weight", transposed()),
            *feed_forward("feed_forward.shared_expert", "_shexp"),
        ),
        llama4_keys,
        stretched_frequencies,
        ignored=(r"^(vision_model|multi_modal_projector)\.",),
        settled={"attention_chunk_size": 8192, "floor_scale": 8192, "attn_scale": 0.1},
        cutting={"gpt-4o": "llama4"},
    ),
)
