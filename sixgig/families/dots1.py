"""dots.llm1: leading dense layers, shared experts, sigmoid gates."""

from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import ExpertCuts, SharedWidth
from sixgig.families.terms.family import SELECTION_BIAS, Family, RouterRule
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.sources import (
    MIXTURE,
    SIGMOID_GATE,
    attention,
    common_keys,
    feed_forward,
    head_norms,
    norms,
    outside,
    selection_bias,
    shared_mixture_keys,
)


def dots_keys(config: Config) -> Keys:
    """With the shared experts' count and the weights' scale."""
    return common_keys(config) | shared_mixture_keys(config) | SIGMOID_GATE


FAMILY = Family(
    "dots1",
    router=RouterRule(selection_bias=SELECTION_BIAS),
    expert_cuts=ExpertCuts(shared=SharedWidth.COUNTED, renormalises=None, softmax=False),
    recipes=(
        Recipe(
            ("Dots1ForCausalLM",),
            (
                *outside(),
                *norms(),
                *attention(),
                *head_norms(),
                *feed_forward(),
                *MIXTURE,
                *selection_bias(),
                *feed_forward("mlp.shared_experts", "_shexp"),
            ),
            dots_keys,
            settled={"scoring_func": ("sigmoid", "noaux_tc"), "topk_method": "noaux_tc", "moe_layer_freq": 1},
            defaults={"tie_word_embeddings": False, "attention_bias": False, "rope_theta": 10000.0},
        ),
    ),
)
