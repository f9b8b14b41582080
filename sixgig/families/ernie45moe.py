"""ERNIE 4.5 with experts: leading dense layers, shared experts as wide as several."""

from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import ExpertCuts
from sixgig.families.terms.family import SELECTION_BIAS, Family, RouterRule
from sixgig.families.terms.recipe import BIASES, Keys, Recipe
from sixgig.families.terms.sources import (
    MIXTURE,
    attention,
    common_keys,
    feed_forward,
    norms,
    outside,
    selection_bias,
)
from sixgig.families.terms.transforms import require


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
    last = (
        config.integer("moe_layer_end_index", default=config.n_layers - 1)
        if _ends(config)
        else config.n_layers - 1
    )
    require(
        last == config.n_layers - 1,
        "config.json: the last layers are not routed",
        f"moe_layer_end_index {last}",
    )
    if n_shared:
        keys["expert_shared_feed_forward_length"] = width * n_shared
    return common_keys(config) | keys


def _ends(config: Config) -> bool:
    """Whether it says where the routed layers end; -1 means nowhere."""
    return config.values.get("moe_layer_end_index") not in (None, -1)


FAMILY = Family(
    "ernie4_5-moe",
    router=RouterRule(selection_bias=SELECTION_BIAS),
    expert_cuts=ExpertCuts(),
    recipes=(
        Recipe(
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
            settled={"moe_gate": "topk", "moe_use_aux_free": (True, None), "rope_interleave": True},
            defaults={
                "tie_word_embeddings": True,
                "use_bias": False,
                "moe_layer_interval": 1,
                "rope_theta": 5e5,
            }
            | {"moe_num_shared_experts": 2, "moe_layer_start_index": 1},
            idle=("moe_norm_min", "moe_capacity", "moe_multimodal_\\w+", "moe_layer_end_index"),
            flags={"use_bias": (*BIASES["attention_bias"], *BIASES["mlp_bias"])},
        ),
    ),
)
