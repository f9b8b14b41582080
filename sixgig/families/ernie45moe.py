"""ERNIE 4.5 with experts."""

from sixgig.families.terms.family import SELECTION_BIAS, Family, RouterRule

FAMILY = Family("ernie4_5-moe", router=RouterRule(selection_bias=SELECTION_BIAS))
