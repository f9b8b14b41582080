"""MiniMax M2: norms over all heads together, sigmoid gates, a part of each head turned."""

from sixgig.checkpoint.blocks import (
    SIGMOID_GATE,
    attention,
    common_keys,
    experts,
    fused_experts,
    head_norms,
    norms,
    outside,
    router,
    selection_bias,
)
from sixgig.checkpoint.config import Config
from sixgig.checkpoint.recipe import Keys, Recipe


def minimax_keys(config: Config) -> Keys:
    """With how much of a head is turned, which config.json says in either of two ways."""
    turned = int(config.head_width * config.rope.number("partial_rotary_factor", default=1.0))
    keys: Keys = {
        "expert_feed_forward_length": config.integer("intermediate_size"),
        "rope.dimension_count": config.integer("rotary_dim", default=turned),
    }
    return common_keys(config) | SIGMOID_GATE | keys


RECIPES = (
    Recipe(
        "minimax-m2",
        ("MiniMaxM2ForCausalLM",),
        (
            *outside(),
            *norms(),
            *attention(),
            *head_norms(),
            *router("block_sparse_moe.gate"),
            *experts("block_sparse_moe.experts", ("w1", "w3", "w2")),
            *selection_bias("block_sparse_moe.e_score_correction_bias"),
            *router(),
            *fused_experts(),
            *selection_bias("mlp.e_score_correction_bias"),
        ),
        minimax_keys,
        cutting={"gpt-4o": "minimax-m2"},
    ),
)
