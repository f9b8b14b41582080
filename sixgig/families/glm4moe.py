"""GLM-4.5 and its successors: leading dense layers, a shared expert, half of each head turned."""

from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import ExpertCuts, SharedWidth
from sixgig.families.terms.family import POST_ATTENTION_NORM, SELECTION_BIAS, Family, RouterRule
from sixgig.families.terms.recipe import BIASES, Keys, Recipe
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


def glm_keys(config: Config) -> Keys:
    """With how much of a head is turned."""
    turned = int(config.head_width * config.rope.number("partial_rotary_factor", default=0.5))
    return common_keys(config) | shared_mixture_keys(config) | SIGMOID_GATE | {"rope.dimension_count": turned}


FAMILY = Family(
    "glm4moe",
    router=RouterRule(selection_bias=SELECTION_BIAS, input_norm=POST_ATTENTION_NORM),
    expert_cuts=ExpertCuts(shared=SharedWidth.COUNTED, renormalises=None, softmax=False),
    recipes=(
        Recipe(
            ("Glm4MoeForCausalLM",),
            (
                *outside(),
                *norms(second="post_attention_norm"),
                *attention(),
                *head_norms(),
                *feed_forward(),
                *MIXTURE,
                *selection_bias(),
                *feed_forward("mlp.shared_experts", "_shexp"),
            ),
            glm_keys,
            settled={"scoring_func": "sigmoid", "topk_method": "noaux_tc"},
            defaults={"tie_word_embeddings": False, "attention_bias": False, "rope_theta": 10000.0}
            | {
                "norm_topk_prob": True,
                "n_shared_experts": 1,
                "first_k_dense_replace": 1,
                "use_qk_norm": False,
            },
            flags=BIASES | {"use_qk_norm": ("attn_q_norm.weight", "attn_k_norm.weight")},
            cutting={"llama-bpe": "glm4"},
            special={"bos": "[gMASK]", "eot": "<|user|>", "unk": "<|endoftext|>", "eom": "<|observation|>"},
        ),
    ),
)
