"""Llama and, with experts, Mixtral."""

from sixgig.families.blocks import MIXTURE
from sixgig.families.family import Family, RouterRule

FAMILY = Family("llama", MIXTURE, RouterRule(), rotates_whole_heads=True)
