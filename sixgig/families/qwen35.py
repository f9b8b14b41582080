"""Qwen3.5, dense hybrid: Gated DeltaNet, every fourth layer full attention."""

from sixgig.families.blocks import DELTA_NET, DENSE
from sixgig.families.family import Family

FAMILY = Family("qwen35", (*DENSE, *DELTA_NET))
