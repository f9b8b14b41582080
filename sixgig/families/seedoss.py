"""Seed-OSS, dense: biases on queries, keys and values."""

from sixgig.families.terms.blocks import Blocks, Pairs
from sixgig.families.terms.cuts import UNIFORM
from sixgig.families.terms.family import POST_ATTENTION_NORM, Family, RouterRule
from sixgig.families.terms.recipe import Recipe
from sixgig.families.terms.sources import attention, common_keys, feed_forward, norms, outside

FAMILY = Family(
    "seed_oss",
    router=RouterRule(input_norm=POST_ATTENTION_NORM),
    tuning=Blocks(Pairs.HALVES),
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
