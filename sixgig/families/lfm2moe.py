"""LFM2 with experts: short convolutions beside attention, leading dense layers, sigmoid gates."""

from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import ExpertCuts
from sixgig.families.terms.family import SELECTION_BIAS, Family, RouterRule
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.sources import (
    SIGMOID_GATE,
    attention,
    common_keys,
    experts,
    fused_experts,
    head_norms,
    outside,
    router,
    selection_bias,
    weight,
)
from sixgig.families.terms.transforms import SQUEEZE

_NAMES = ("w1", "w3", "w2")


def lfm_keys(config: Config) -> Keys:
    """Layers without key-value heads are convolutions."""
    kinds = config.layer_kinds
    return (
        common_keys(config)
        | SIGMOID_GATE
        | {
            "attention.head_count_kv": [
                config.n_kv_heads if kind == "full_attention" else 0 for kind in kinds
            ],
            "expert_feed_forward_length": config.integer("moe_intermediate_size"),
            "leading_dense_block_count": config.integer("num_dense_layers"),
            "shortconv.l_cache": config.integer("conv_L_cache"),
            "vocab_size": config.integer("vocab_size"),
        }
    )


FAMILY = Family(
    "lfm2moe",
    router=RouterRule(selection_bias=SELECTION_BIAS),
    expert_cuts=ExpertCuts(softmax=False),
    recipes=(
        Recipe(
            ("Lfm2MoeForCausalLM",),
            (
                *outside(final="embedding_norm", final_target="token_embd_norm"),
                *weight("operator_norm", "attn_norm"),
                *weight("ffn_norm", "ffn_norm"),
                *attention(output="out_proj"),
                *head_norms(q="q_layernorm", k="k_layernorm"),
                *weight("conv.conv", "shortconv.conv", SQUEEZE),
                *weight("conv.in_proj", "shortconv.in_proj"),
                *weight("conv.out_proj", "shortconv.out_proj"),
                *(
                    rule
                    for name, stem in zip(_NAMES, ("gate", "up", "down"), strict=True)
                    for rule in weight(f"feed_forward.{name}", f"ffn_{stem}")
                ),
                *router("feed_forward.gate"),
                *experts("feed_forward.experts", _NAMES),
                *fused_experts("feed_forward.experts"),
                *selection_bias("feed_forward.expert_bias"),
            ),
            lfm_keys,
            kinds=("full_attention", "conv", "short_conv"),
            settled={
                "norm_topk_prob": True,
                "routed_scaling_factor": 1.0,
                "use_expert_bias": True,
                "conv_bias": False,
            },
            defaults={"tie_word_embeddings": True, "rope_theta": 1e6, "conv_bias": False},
            idle=("conv_dim", "conv_dim_out", "conv_use_xavier_init", "block_\\w+", "use_pos_enc", "theta"),
            cutting={"llama-bpe": "lfm2"},
        ),
    ),
)
