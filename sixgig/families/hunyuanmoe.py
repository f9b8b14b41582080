"""Hunyuan with experts, one shared expert."""

from sixgig.families.blocks import MIXTURE
from sixgig.families.family import Family, RouterRule

FAMILY = Family("hunyuan-moe", MIXTURE, RouterRule(), rotates_whole_heads=True)
