"""DeepSeek's first mixture: leading dense layers, shared experts."""

from sixgig.families.terms.cuts import ExpertCuts, SharedWidth
from sixgig.families.terms.family import Family

FAMILY = Family(
    "deepseek",
    expert_cuts=ExpertCuts(shared=SharedWidth.COUNTED, renormalises=False),
)
