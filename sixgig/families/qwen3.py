"""Qwen3, dense."""

from sixgig.families.blocks import DENSE
from sixgig.families.family import Family

FAMILY = Family("qwen3", DENSE, rotates_whole_heads=True)
