"""DeepSeek V2, V3, R1 and Kimi K2: latent attention, leading dense layers, shared experts."""

from sixgig.families.terms.family import SELECTION_BIAS, Family, RouterRule
from sixgig.families.terms.roles import Role

FAMILY = Family(
    "deepseek2",
    router=RouterRule(selection_bias=SELECTION_BIAS),
    unadapted=frozenset({Role.ATTENTION, Role.HEAD}),
)
