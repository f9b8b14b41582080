"""Granite with experts, with or without a shared one; its multipliers become scales."""

from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import WIDTH_IS_FEED_FORWARD, ExpertCuts
from sixgig.families.terms.family import Family
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.rotary import TENSORS, stretching
from sixgig.families.terms.sources import (
    ROTARY_ATTENTION,
    common_keys,
    fused_experts,
    norms,
    outside,
    weight,
)
from sixgig.families.terms.transforms import Unit, half

_SHARED = "shared_mlp.input_linear"


def granite_keys(config: Config) -> Keys:
    """With the multipliers, and the shared expert's width where there is one."""
    keys: Keys = {
        "rope.dimension_count": config.head_width,
        "vocab_size": config.integer("vocab_size"),
        "attention.scale": config.number("attention_multiplier", default=1.0),
        "embedding_scale": config.number("embedding_multiplier", default=1.0),
        "residual_scale": config.number("residual_multiplier", default=1.0),
        "logit_scale": config.number("logits_scaling", default=1.0),
    }
    if shared := config.integer("shared_intermediate_size", default=0):
        keys["expert_shared_feed_forward_length"] = shared
    return common_keys(config, takes=TENSORS) | keys


FAMILY = Family(
    "granitemoe",
    expert_cuts=ExpertCuts(WIDTH_IS_FEED_FORWARD),
    recipes=(
        Recipe(
            ("GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"),
            (
                *outside(),
                *norms(),
                *ROTARY_ATTENTION,
                *weight("block_sparse_moe.router.layer", "ffn_gate_inp"),
                *fused_experts("block_sparse_moe", "input_linear.weight", "output_linear.weight"),
                *weight(_SHARED, "ffn_gate_shexp", half(0, Unit.TENSOR)),
                *weight(_SHARED, "ffn_up_shexp", half(1, Unit.TENSOR)),
                *weight("shared_mlp.output_linear", "ffn_down_shexp"),
            ),
            granite_keys,
            stretching(TENSORS),
            settled={"position_embedding_type": ("rope", None), "normalization_function": ("rmsnorm", None)},
            defaults={"tie_word_embeddings": False, "attention_bias": False, "rope_theta": 10000.0},
        ),
    ),
)
