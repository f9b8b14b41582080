"""Hunyuan with experts, one shared expert; its rotary base grows with the context it was stretched to."""

from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import WIDTH_IN_BOTH, ExpertCuts, SharedWidth
from sixgig.families.terms.family import Family
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.rotary import Takes
from sixgig.families.terms.sources import (
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

_STRETCHED_CONTEXT = 256 * 1024  # what its makers state for the alpha of 1000 that they use


def hunyuan_keys(config: Config) -> Keys:
    """With the base that the stretching ("dynamic" with an alpha) comes to."""
    keys = common_keys(config, takes=Takes.ALPHA) | {
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


FAMILY = Family(
    "hunyuan-moe",
    expert_cuts=ExpertCuts(WIDTH_IN_BOTH, shared=SharedWidth.STATED),
    recipes=(
        Recipe(
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
            settled={
                "use_qk_norm": True,
                "use_cla": (False, None),
                "use_mla": (False, None),
                "norm_topk_prob": (True, None),
                "use_mixed_mlp_moe": True,
                "moe_layer_num_skipped": 0,
                "routed_scaling_factor": (False, None, 1),
                "use_rotary_pos_emb": (True, None),
                "norm_type": ("rms", None),
                "mlp_bias": False,
            },
            defaults={"tie_word_embeddings": False, "attention_bias": False, "rope_theta": 10000.0},
            idle=(
                r"attention_head_dim|cla_share_factor|org_vocab_size|pool_type|position_embedding_xdrope|rope\.(alpha|factor)",
                r"capacity_factor|group_limited_greedy|n_group|topk_group|enable_lm_head_fp32|rope\.beta_(fast|slow)|rope\.mscale\w*",
                r"kv_lora_rank|q_lora_rank|qk_nope_head_dim|qk_rope_head_dim|v_head_dim|num_media_embeds|anyres_\w+|xdrope_section",
                r"add_classification_head|class_num|max_image_size|min_image_size|mask_init_id|text_\w+|skip_cls_token|use_post_norm",
            ),
            cutting={"qwen2": "hunyuan"},
        ),
    ),
)
