"""Qwen3.5 with experts: Gated DeltaNet, every fourth layer full attention, one gated shared expert."""

from sixgig.families.blocks import DELTA_NET, MIXTURE, POST_ATTENTION_NORM
from sixgig.families.family import Family, RouterRule

FAMILY = Family("qwen35moe", (*MIXTURE, *DELTA_NET), RouterRule(input_norm=POST_ATTENTION_NORM))
