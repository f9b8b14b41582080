"""ERNIE 4.5 with experts: leading dense layers, shared experts as wide as several."""

from sixgig.checkpoint.blocks import (
    MIXTURE,
    attention,
    common_keys,
    feed_forward,
    norms,
    outside,
    selection_bias,
)
from sixgig.checkpoint.config import Config
from sixgig.checkpoint.recipe import Keys, Recipe


def ernie_keys(config: Config) -> Keys:
    """With where the routed layers begin and how many shared experts there are."""
    width, n_shared = (
        config.integer("moe_intermediate_size"),
        config.integer("moe_num_shared_experts", default=0),
    )
    keys: Keys = {
        "interleave_moe_layer_step": config.integer("moe_layer_interval", default=1),
        "leading_dense_block_count": config.integer("moe_layer_start_index", default=0),
        "expert_feed_forward_length": width,
        "expert_shared_count": n_shared,
    }
    if n_shared:
        keys["expert_shared_feed_forward_length"] = width * n_shared
    return common_keys(config) | keys


RECIPES = (
    Recipe(
        "ernie4_5-moe",
        ("Ernie4_5_MoeForCausalLM",),
        (
            *outside(),
            *norms(),
            *attention(),
            *feed_forward(),
            *MIXTURE,
            *selection_bias("mlp.moe_statics.e_score_correction_bias"),
            *feed_forward("mlp.shared_experts", "_shexp"),
        ),
        ernie_keys,
        ignored=(r"^model\.mtp_",),
    ),
)
