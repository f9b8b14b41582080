"""Qwen3.5 with experts: Gated DeltaNet, every fourth layer full attention, one gated shared expert."""

from sixgig.families.terms.family import DELTA_NET_ROLES, POST_ATTENTION_NORM, Family, RouterRule

FAMILY = Family("qwen35moe", roles=DELTA_NET_ROLES, router=RouterRule(input_norm=POST_ATTENTION_NORM))
