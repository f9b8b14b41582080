"""ERNIE 4.5 with experts."""

from sixgig.families.blocks import MIXTURE, SELECTION_BIAS
from sixgig.families.family import Family, RouterRule

FAMILY = Family("ernie4_5-moe", MIXTURE, RouterRule(selection_bias=SELECTION_BIAS), rotates_whole_heads=True)
