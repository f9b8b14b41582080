"""Llama with heads and widths that differ from layer to layer (DeciLM, Llama-Nemotron)."""

from sixgig.families.terms.cuts import DenseCuts, Freedom
from sixgig.families.terms.family import Family

FAMILY = Family(
    "deci",
    dense_cuts=DenseCuts(Freedom.PER_LAYER, Freedom.PER_LAYER, output_bias=True),
)
