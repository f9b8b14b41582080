"""GLM-4.5 and its successors: one leading dense layer, shared expert."""

from sixgig.families.blocks import MIXTURE, POST_ATTENTION_NORM, SELECTION_BIAS
from sixgig.families.family import Family, RouterRule

FAMILY = Family("glm4moe", MIXTURE, RouterRule(selection_bias=SELECTION_BIAS, input_norm=POST_ATTENTION_NORM))
