"""GLM-4.5 and its successors: one leading dense layer, shared expert."""

from sixgig.families.terms.family import POST_ATTENTION_NORM, SELECTION_BIAS, Family, RouterRule

FAMILY = Family("glm4moe", router=RouterRule(selection_bias=SELECTION_BIAS, input_norm=POST_ATTENTION_NORM))
