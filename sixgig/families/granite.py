"""Granite, dense; its multipliers become scales."""

from sixgig.families.terms.cuts import DenseCuts, Freedom
from sixgig.families.terms.family import Family
from sixgig.families.terms.granite import BLOCKS, DEFAULTS, SETTLED, granite_keys
from sixgig.families.terms.recipe import Recipe
from sixgig.families.terms.rotary import TENSORS, stretching
from sixgig.families.terms.sources import ROTARY_ATTENTION, feed_forward, norms, outside

FAMILY = Family(
    "granite",
    tuning=BLOCKS,
    dense_cuts=DenseCuts(Freedom.UNIFORM, Freedom.UNIFORM, output_bias=True),
    recipes=(
        Recipe(
            ("GraniteForCausalLM",),
            (*outside(), *norms(), *ROTARY_ATTENTION, *feed_forward()),
            granite_keys,
            stretching(TENSORS),
            settled=SETTLED,
            defaults=DEFAULTS | {"mlp_bias": False},
        ),
    ),
)
