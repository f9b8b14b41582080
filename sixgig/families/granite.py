"""Granite, dense."""

from sixgig.families.terms.cuts import DenseCuts, Freedom
from sixgig.families.terms.family import Family

FAMILY = Family(
    "granite",
    dense_cuts=DenseCuts(Freedom.UNIFORM, Freedom.UNIFORM, output_bias=True),
)
