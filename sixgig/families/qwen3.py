"""Qwen3, dense."""

from sixgig.families.terms.blocks import Blocks, Pairs
from sixgig.families.terms.cuts import UNIFORM
from sixgig.families.terms.family import Family
from sixgig.families.terms.qwen import CORE, UNBIASED
from sixgig.families.terms.recipe import Recipe
from sixgig.families.terms.sources import common_keys, feed_forward, head_norms

FAMILY = Family(
    "qwen3",
    tuning=Blocks(Pairs.HALVES, head_norms=True),
    dense_cuts=UNIFORM,
    recipes=(
        Recipe(
            ("Qwen3ForCausalLM",),
            (*CORE, *head_norms(), *feed_forward()),
            common_keys,
            defaults=UNBIASED,
        ),
    ),
)
