"""Qwen3 with experts, none shared."""

from sixgig.families.blocks import MIXTURE
from sixgig.families.family import Family, RouterRule

FAMILY = Family("qwen3moe", MIXTURE, RouterRule(), rotates_whole_heads=True)
