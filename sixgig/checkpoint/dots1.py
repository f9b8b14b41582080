"""dots.llm1: leading dense layers, shared experts, sigmoid gates."""

from sixgig.checkpoint.blocks import (
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
from sixgig.checkpoint.config import Config
from sixgig.checkpoint.recipe import Keys, Recipe


def dots_keys(config: Config) -> Keys:
    """With the shared experts' count and the weights' scale."""
    return common_keys(config) | shared_mixture_keys(config) | SIGMOID_GATE


RECIPES = (
    Recipe(
        "dots1",
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
)
