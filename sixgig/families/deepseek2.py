"""DeepSeek V2, V3, R1 and Kimi K2: latent attention, leading dense layers, shared experts."""

from sixgig.families.blocks import LATENT_ATTENTION, MIXTURE, SELECTION_BIAS
from sixgig.families.family import Family, RouterRule

FAMILY = Family("deepseek2", (*MIXTURE, *LATENT_ATTENTION), RouterRule(selection_bias=SELECTION_BIAS))
