"""gpt-oss: biased router and experts, attention sinks."""

from sixgig.families.terms.family import POST_ATTENTION_NORM, ROUTER_BIAS, Family, RouterRule, SlidingRule

FAMILY = Family(
    "gpt-oss",
    router=RouterRule(bias=ROUTER_BIAS, input_norm=POST_ATTENTION_NORM),
    sliding=SlidingRule(period=2),
)
