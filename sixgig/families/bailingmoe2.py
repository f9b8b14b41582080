"""Ling 2 and Ring 2."""

from sixgig.families.terms.cuts import ExpertCuts, SharedWidth
from sixgig.families.terms.family import SELECTION_BIAS, Family, RouterRule

FAMILY = Family(
    "bailingmoe2",
    router=RouterRule(selection_bias=SELECTION_BIAS),
    expert_cuts=ExpertCuts(shared=SharedWidth.STATED_EACH, renormalises=None, softmax=False),
)
