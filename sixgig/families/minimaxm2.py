"""MiniMax M2."""

from sixgig.families.blocks import MIXTURE, SELECTION_BIAS
from sixgig.families.family import Family, RouterRule

FAMILY = Family("minimax-m2", MIXTURE, RouterRule(selection_bias=SELECTION_BIAS, names_gate=True))
