"""DeepSeek V2, V3 and R1: latent attention, leading dense layers, shared experts."""

from sixgig.families.terms.cuts import ExpertCuts, SharedWidth
from sixgig.families.terms.family import SELECTION_BIAS, Family, RouterRule
from sixgig.families.terms.latent import IDLE, RULES, SIGMOID, SIZES, SOFTMAX, latent_keys
from sixgig.families.terms.recipe import Recipe
from sixgig.families.terms.roles import Role

FAMILY = Family(
    "deepseek2",
    router=RouterRule(selection_bias=SELECTION_BIAS),
    unadapted=frozenset({Role.ATTENTION, Role.HEAD}),
    expert_cuts=ExpertCuts(shared=SharedWidth.COUNTED, renormalises=None),
    recipes=(
        Recipe(
            ("DeepseekV2ForCausalLM",),
            RULES,
            latent_keys(SOFTMAX),
            settled={
                "topk_method": "greedy",
                "scoring_func": "softmax",
                "moe_layer_freq": 1,
                "norm_topk_prob": False,
            },
            defaults=SIZES,
            idle=IDLE,
        ),
        Recipe(
            ("DeepseekV3ForCausalLM",),
            RULES,
            latent_keys(SIGMOID),
            settled={
                "rope_interleave": True,
                "topk_method": "noaux_tc",
                "scoring_func": "sigmoid",
                "moe_layer_freq": 1,
            },
            defaults=SIZES
            | {"norm_topk_prob": True, "routed_scaling_factor": 2.5, "n_group": 8, "topk_group": 4}
            | {"first_k_dense_replace": 3, "n_shared_experts": 1},
            idle=IDLE,
        ),
    ),
)
