"""Qwen3.5, dense: Gated DeltaNet, every fourth layer full attention."""

from sixgig.families.terms.cuts import UNIFORM
from sixgig.families.terms.family import DELTA_NET_ROLES, POST_ATTENTION_NORM, Family, RouterRule
from sixgig.families.terms.qwen import GATED_DELTA_NET, hybrid
from sixgig.families.terms.sources import feed_forward

FAMILY = Family(
    "qwen35",
    roles=DELTA_NET_ROLES,
    router=RouterRule(input_norm=POST_ATTENTION_NORM),
    tuning=GATED_DELTA_NET,
    dense_cuts=UNIFORM,
    recipes=(hybrid(("Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"), feed_forward(), {}),),
)
