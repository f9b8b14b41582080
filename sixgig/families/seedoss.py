"""Seed-OSS, dense: biases on queries, keys and values."""

from sixgig.families.terms.cuts import UNIFORM
from sixgig.families.terms.family import Family
from sixgig.families.terms.recipe import Recipe
from sixgig.families.terms.sources import attention, common_keys, feed_forward, norms, outside

FAMILY = Family(
    "seed_oss",
    dense_cuts=UNIFORM,
    recipes=(
        Recipe(
            ("SeedOssForCausalLM",),
            (*outside(), *norms(second="post_attention_norm"), *attention(), *feed_forward()),
            common_keys,
            settled={"attention_out_bias": False, "mlp_bias": False},
            defaults={
                "tie_word_embeddings": False,
                "attention_bias": True,
                "attention_out_bias": False,
                "mlp_bias": False,
                "head_dim": 128,
                "rope_theta": 10000.0,
            },
            flags={"attention_bias": ("attn_q.bias", "attn_k.bias", "attn_v.bias")},
        ),
    ),
)
