"""Hunyuan with experts, one shared expert; its rotary base grows with the context it was stretched to."""

from sixgig.checkpoint.blocks import (
    attention,
    common_keys,
    experts,
    feed_forward,
    fused_experts,
    head_norms,
    norms,
    outside,
    router,
)
from sixgig.checkpoint.config import Config
from sixgig.checkpoint.recipe import Keys, Recipe

_STRETCHED_CONTEXT = 256 * 1024  # what its makers state for the alpha of 1000 that they use


def hunyuan_keys(config: Config) -> Keys:
    """With the base that the stretching ("dynamic" with an alpha) comes to."""
    keys = common_keys(config, alpha=True) | {
        "expert_shared_feed_forward_length": config.integer("intermediate_size"),
        "expert_feed_forward_length": config.integer("moe_intermediate_size", "intermediate_size"),
        "expert_shared_count": config.integer("num_shared_expert", default=1),
    }
    alpha, width = config.rope.number("alpha", default=0.0), config.head_width
    if alpha:
        keys["rope.freq_base"] = config.rope.number("rope_theta") * alpha ** (width / (width - 2))
    if alpha == 1000:
        keys["context_length"] = _STRETCHED_CONTEXT
    return keys


RECIPES = (
    Recipe(
        "hunyuan-moe",
        ("HunYuanMoEV1ForCausalLM",),
        (
            *outside(),
            *norms(),
            *attention(),
            *head_norms(q="query_layernorm", k="key_layernorm"),
            *router("mlp.gate.wg"),
            *experts(),
            *fused_experts(),
            *feed_forward("mlp.shared_mlp", "_shexp"),
        ),
        hunyuan_keys,
        cutting={"qwen2": "hunyuan"},
    ),
)
