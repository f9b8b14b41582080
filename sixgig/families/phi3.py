"""Phi 3, 3.5 and 4: queries, keys and values fused, gate and up fused."""

from sixgig.families.terms.blocks import Blocks, Pairs
from sixgig.families.terms.family import Family

FAMILY = Family(
    "phi3",
    tuning=Blocks(Pairs.HALVES, frequency_factors=True, gate_in_up=True),
)
