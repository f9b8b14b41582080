"""Qwen2 and Qwen2.5, dense."""

from sixgig.families.blocks import DENSE
from sixgig.families.family import Family

FAMILY = Family("qwen2", DENSE, rotates_whole_heads=True)
