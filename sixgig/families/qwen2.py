"""Qwen2 and Qwen2.5, dense."""

from sixgig.families.terms.blocks import Blocks, Pairs
from sixgig.families.terms.cuts import DenseCuts, Freedom
from sixgig.families.terms.family import Family
from sixgig.families.terms.qwen import BIASED, CORE, QKV_BIASES
from sixgig.families.terms.recipe import Recipe
from sixgig.families.terms.sources import common_keys, feed_forward

FAMILY = Family(
    "qwen2",
    tuning=Blocks(Pairs.HALVES),
    dense_cuts=DenseCuts(widths=Freedom.UNIFORM),
    recipes=(
        Recipe(
            ("Qwen2ForCausalLM",), (*CORE, *feed_forward()), common_keys, defaults=BIASED, flags=QKV_BIASES
        ),
    ),
)
