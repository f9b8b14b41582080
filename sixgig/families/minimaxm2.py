"""MiniMax M2: norms over all heads together, sigmoid gates, a part of each head turned."""

from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import WIDTH_IN_BOTH, ExpertCuts
from sixgig.families.terms.family import SELECTION_BIAS, Family, RouterRule
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.sources import (
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
from sixgig.families.terms.transforms import require


def minimax_keys(config: Config) -> Keys:
    """With how much of a head is turned, which config.json says in either of two ways."""
    kinds = config.items("attn_type_list")
    require(kinds.count(1) == len(kinds), "config.json: attn_type_list has linear layers", str(kinds)[:60])
    turned = int(config.head_width * config.rope.number("partial_rotary_factor", default=1.0))
    keys: Keys = {
        "expert_feed_forward_length": config.integer("intermediate_size"),
        "rope.dimension_count": config.integer("rotary_dim", default=turned),
    }
    return common_keys(config) | SIGMOID_GATE | keys


FAMILY = Family(
    "minimax-m2",
    router=RouterRule(selection_bias=SELECTION_BIAS),
    expert_cuts=ExpertCuts(WIDTH_IN_BOTH, softmax=False),
    recipes=(
        Recipe(
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
            settled={
                "scoring_func": "sigmoid",
                "use_qk_norm": True,
                "qk_norm_type": "per_layer",
                "use_routing_bias": True,
                "shared_intermediate_size": (0, None),
            },
            defaults={"tie_word_embeddings": False},
            cutting={"gpt-4o": "minimax-m2"},
        ),
    ),
)
