"""Qwen3-Next: Gated DeltaNet, every fourth layer full attention, experts, one gated shared expert."""

from sixgig.families.terms import delta_net
from sixgig.families.terms.cuts import ExpertCuts
from sixgig.families.terms.family import DELTA_NET_ROLES, POST_ATTENTION_NORM, Family, RouterRule
from sixgig.families.terms.qwen import (
    EVERY_LAYER_ROUTED,
    GATED_OUTPUT,
    HYBRID_CORE,
    HYBRID_KINDS,
    UNBIASED,
    VISION_AND_PREDICTION,
    hybrid_keys,
)
from sixgig.families.terms.recipe import Recipe, Rule
from sixgig.families.terms.sources import GATED_SHARED_EXPERT, LAYER, MIXTURE, feed_forward, weight
from sixgig.families.terms.transforms import AS_IS, SQUEEZE

_GROUPED = (
    *weight("linear_attn.in_proj_qkvz", "attn_qkv", delta_net.UNGROUPED_QKV),
    *weight("linear_attn.in_proj_qkvz", "attn_gate", delta_net.UNGROUPED_GATE),
    *weight("linear_attn.in_proj_ba", "ssm_ba"),
    *weight("linear_attn.conv1d", "ssm_conv1d", SQUEEZE),
    *weight("linear_attn.out_proj", "ssm_out"),
    Rule(f"{LAYER}linear_attn.A_log", "blk.{layer}.ssm_a", delta_net.GROUPED_DECAY),
    Rule(f"{LAYER}linear_attn.dt_bias", "blk.{layer}.ssm_dt.bias", AS_IS),
)

FAMILY = Family(
    "qwen3next",
    roles=DELTA_NET_ROLES,
    router=RouterRule(input_norm=POST_ATTENTION_NORM),
    expert_cuts=ExpertCuts(),
    recipes=(
        Recipe(
            ("Qwen3NextForCausalLM",),
            (*HYBRID_CORE, *_GROUPED, *MIXTURE, *GATED_SHARED_EXPERT, *feed_forward()),
            hybrid_keys,
            ignored=VISION_AND_PREDICTION,
            settled=GATED_OUTPUT | EVERY_LAYER_ROUTED | {"norm_topk_prob": True},
            defaults=UNBIASED,
            kinds=HYBRID_KINDS,
        ),
    ),
)
