"""Qwen1.5-MoE and Qwen2 with experts: one gated shared expert."""

from sixgig.families.terms.blocks import Blocks, Pairs
from sixgig.families.terms.cuts import ExpertCuts
from sixgig.families.terms.family import Family
from sixgig.families.terms.qwen import BIASED, CORE, EVERY_LAYER_ROUTED, QKV_BIASES, mixture_keys
from sixgig.families.terms.recipe import Recipe
from sixgig.families.terms.sources import GATED_SHARED_EXPERT, MIXTURE

FAMILY = Family(
    "qwen2moe",
    tuning=Blocks(Pairs.HALVES, gates_sum_to_one=False, gated_shared_expert=True),
    expert_cuts=ExpertCuts(renormalises=False),
    recipes=(
        Recipe(
            ("Qwen2MoeForCausalLM",),
            (*CORE, *MIXTURE, *GATED_SHARED_EXPERT),
            mixture_keys,
            settled=EVERY_LAYER_ROUTED | {"norm_topk_prob": False},
            defaults=BIASED | {"use_sliding_window": False},
            flags=QKV_BIASES,
        ),
    ),
)
