"""LFM2 with experts: short convolutions beside attention, leading dense layers."""

from sixgig.families.terms.family import SELECTION_BIAS, Family, RouterRule

FAMILY = Family("lfm2moe", router=RouterRule(selection_bias=SELECTION_BIAS))
