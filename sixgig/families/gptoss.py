"""gpt-oss: biased router and experts, attention sinks."""

from sixgig.families.blocks import MIXTURE, POST_ATTENTION_NORM, ROUTER_BIAS, SINKS
from sixgig.families.family import Family, RouterRule, SlidingRule

FAMILY = Family(
    "gpt-oss",
    (*MIXTURE, *SINKS),
    RouterRule(bias=ROUTER_BIAS, input_norm=POST_ATTENTION_NORM),
    rotates_whole_heads=True,
    sliding=SlidingRule(period=2),
)
