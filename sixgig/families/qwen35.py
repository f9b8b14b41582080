"""Qwen3.5, dense hybrid: Gated DeltaNet, every fourth layer full attention."""

from sixgig.families.terms.family import DELTA_NET_ROLES, Family

FAMILY = Family("qwen35", roles=DELTA_NET_ROLES)
