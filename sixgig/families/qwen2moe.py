"""Qwen1.5 and Qwen2 with experts, one gated shared expert."""

from sixgig.families.blocks import MIXTURE
from sixgig.families.family import Family, RouterRule

FAMILY = Family("qwen2moe", MIXTURE, RouterRule(), rotates_whole_heads=True)
