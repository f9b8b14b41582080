"""OLMoE."""

from sixgig.families.blocks import MIXTURE
from sixgig.families.family import Family, RouterRule

FAMILY = Family("olmoe", MIXTURE, RouterRule(), rotates_whole_heads=True)
