"""LFM2 with experts: short convolutions beside attention, leading dense layers."""

from sixgig.families.blocks import MIXTURE, SELECTION_BIAS, SHORT_CONVOLUTION
from sixgig.families.family import Family, RouterRule

FAMILY = Family(
    "lfm2moe", (*MIXTURE, *SHORT_CONVOLUTION), RouterRule(selection_bias=SELECTION_BIAS, names_gate=True)
)
