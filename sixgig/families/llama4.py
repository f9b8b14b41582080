"""Llama 4: every layer or every other layer routed (top 1), one shared expert."""

from sixgig.families.blocks import MIXTURE
from sixgig.families.family import Family, RouterRule, SlidingRule

FAMILY = Family("llama4", MIXTURE, RouterRule(), rotates_whole_heads=True, sliding=SlidingRule(4, 8192))
