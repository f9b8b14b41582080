"""Qwen3-Next: the hybrid that Qwen3.5 grew out of."""

from sixgig.families.blocks import DELTA_NET, MIXTURE, POST_ATTENTION_NORM
from sixgig.families.family import Family, RouterRule

FAMILY = Family("qwen3next", (*MIXTURE, *DELTA_NET), RouterRule(input_norm=POST_ATTENTION_NORM))
