"""dots.llm1: leading dense layers, shared experts."""

from sixgig.families.blocks import MIXTURE, SELECTION_BIAS
from sixgig.families.family import Family, RouterRule

FAMILY = Family(
    "dots1", MIXTURE, RouterRule(selection_bias=SELECTION_BIAS, names_gate=True), rotates_whole_heads=True
)
