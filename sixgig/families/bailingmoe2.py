"""Ling 2 and Ring 2."""

from sixgig.families.terms.family import SELECTION_BIAS, Family, RouterRule

FAMILY = Family("bailingmoe2", router=RouterRule(selection_bias=SELECTION_BIAS))
