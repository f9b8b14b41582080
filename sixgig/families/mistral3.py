"""Ministral 3 and its kin: Mistral with YaRN and a temperature of attention that grows with the position."""

from sixgig.families.terms.blocks import Blocks, Pairs
from sixgig.families.terms.cuts import DenseCuts, Freedom
from sixgig.families.terms.family import Family

FAMILY = Family(
    "mistral3",
    tuning=Blocks(Pairs.NEIGHBOURS, frequency_factors=True, yarn_keys=True, temperature=True, biases=True),
    dense_cuts=DenseCuts(Freedom.UNIFORM, Freedom.UNIFORM, output_bias=True),
)
