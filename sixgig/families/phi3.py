"""Phi 3, 3.5 and 4: queries, keys and values fused, gate and up fused."""

from sixgig.families.terms.family import Family

FAMILY = Family(
    "phi3",
)
