"""Qwen3.5 with experts: Gated DeltaNet, every fourth layer full attention, one gated shared expert."""

from dataclasses import replace

from sixgig.families.terms.cuts import ExpertCuts
from sixgig.families.terms.family import DELTA_NET_ROLES, POST_ATTENTION_NORM, Family, RouterRule
from sixgig.families.terms.qwen import EVERY_LAYER_ROUTED, GATED_DELTA_NET, hybrid
from sixgig.families.terms.sources import GATED_SHARED_EXPERT, MIXTURE

FAMILY = Family(
    "qwen35moe",
    roles=DELTA_NET_ROLES,
    tuning=replace(GATED_DELTA_NET, fused_experts=True, gated_shared_expert=True),
    router=RouterRule(input_norm=POST_ATTENTION_NORM),
    expert_cuts=ExpertCuts(),
    recipes=(
        hybrid(
            ("Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration"),
            (*MIXTURE, *GATED_SHARED_EXPERT),
            EVERY_LAYER_ROUTED | {"norm_topk_prob": (True, None)},
        ),
    ),
)
