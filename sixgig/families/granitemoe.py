"""Granite with experts."""

from sixgig.families.blocks import MIXTURE
from sixgig.families.family import Family, RouterRule

FAMILY = Family("granitemoe", MIXTURE, RouterRule(), rotates_whole_heads=True)
