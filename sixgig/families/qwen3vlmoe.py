"""The text half of Qwen3-VL with experts."""

from sixgig.families.blocks import MIXTURE
from sixgig.families.family import Family, RouterRule

FAMILY = Family("qwen3vlmoe", MIXTURE, RouterRule(), rotates_whole_heads=True)
