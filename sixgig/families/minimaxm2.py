"""MiniMax M2."""

from sixgig.families.terms.family import SELECTION_BIAS, Family, RouterRule

FAMILY = Family("minimax-m2", router=RouterRule(selection_bias=SELECTION_BIAS))
