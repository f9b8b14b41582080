"""Llama with heads and widths that differ from layer to layer (DeciLM, Llama-Nemotron)."""

from sixgig.families.blocks import DENSE
from sixgig.families.family import Family

FAMILY = Family("deci", DENSE, rotates_whole_heads=True)
