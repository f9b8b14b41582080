"""GLM 4, dense: four norms a layer, gate and up fused, neighbouring channels of half a head turned."""

from sixgig.families.terms.config import Config
from sixgig.families.terms.family import Family
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.sources import attention, common_keys, norms, outside, weight


def glm4_keys(config: Config) -> Keys:
    """With the channels that are turned."""
    turned = int(config.head_width * config.rope.number("partial_rotary_factor", default=0.5))
    return common_keys(config) | {"rope.dimension_count": turned}


FAMILY = Family(
    "glm4",
    recipes=(
        Recipe(
            ("Glm4ForCausalLM",),
            (
                *outside(),
                *norms(),
                *weight("post_self_attn_layernorm", "post_attention_norm"),
                *weight("post_mlp_layernorm", "post_ffw_norm"),
                *attention(),
                *weight("mlp.gate_up_proj", "ffn_up"),
                *weight("mlp.down_proj", "ffn_down"),
            ),
            glm4_keys,
            defaults={
                "tie_word_embeddings": False,
                "attention_bias": True,
                "head_dim": 128,
                "rope_theta": 10000.0,
            },
            flags={"attention_bias": ("attn_q.bias", "attn_k.bias", "attn_v.bias")},
        ),
    ),
)
