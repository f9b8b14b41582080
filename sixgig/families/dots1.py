"""dots.llm1: leading dense layers, shared experts."""

from sixgig.families.terms.family import SELECTION_BIAS, Family, RouterRule

FAMILY = Family("dots1", router=RouterRule(selection_bias=SELECTION_BIAS))
