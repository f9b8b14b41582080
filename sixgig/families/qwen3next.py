"""Qwen3-Next: the hybrid that Qwen3.5 grew out of."""

from sixgig.families.terms.family import DELTA_NET_ROLES, POST_ATTENTION_NORM, Family, RouterRule

FAMILY = Family("qwen3next", roles=DELTA_NET_ROLES, router=RouterRule(input_norm=POST_ATTENTION_NORM))
