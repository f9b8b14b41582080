"""Gemma 3: norms before and after each part, most layers look back a window only."""

from sixgig.families.terms.family import Family, SlidingRule

FAMILY = Family(
    "gemma3",
    sliding=SlidingRule(6),
)
