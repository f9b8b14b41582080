"""Command R7B and its kin: attention beside the feed-forward part, both behind one LayerNorm without a bias.

Every fourth layer looks back without limit and turns no positions.
"""

from sixgig.families.terms.attention_window import window_keys
from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import DenseCuts, Freedom
from sixgig.families.terms.family import Family, RouterRule, SlidingRule
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.sources import attention, common_keys, feed_forward, headless, weight
from sixgig.families.terms.transforms import require

_PERIOD = 4


def cohere2_keys(config: Config) -> Keys:
    """With the window, which llama.cpp's graph always has, and the scale of logits."""
    window = window_keys(config, _PERIOD)
    require(bool(window), "config.json: llama.cpp's cohere2 has a window", "no layer slides")
    return (
        common_keys(config, slides=True)
        | window
        | {
            "logit_scale": config.number("logit_scale"),
            "rope.dimension_count": config.head_width,
            "vocab_size": config.integer("vocab_size"),
        }
    )


FAMILY = Family(
    "cohere2",
    router=RouterRule(input_norm="blk.{layer}.attn_norm.weight"),
    sliding=SlidingRule(_PERIOD),
    dense_cuts=DenseCuts(widths=Freedom.UNIFORM),
    recipes=(
        Recipe(
            ("Cohere2ForCausalLM",),
            (
                *headless(),
                *weight("input_layernorm", "attn_norm"),
                *attention(),
                *feed_forward(),
            ),
            cohere2_keys,
            settled={
                "attention_bias": False,
                "tie_word_embeddings": True,
                "use_qk_norm": (False, None),
                "use_parallel_block": (True, None),
                "use_gated_activation": (True, None),
                "use_embedding_sharing": (True, None),
                "position_embedding_type": ("rope_gptj", None),
                "order_of_interleaved_layers": ("local_attn_first", None),
                "layer_switch": (_PERIOD, None),
                "rotary_pct": (1.0, None),
            },
            defaults={
                "tie_word_embeddings": True,
                "attention_bias": False,
                "logit_scale": 0.0625,
                "layer_norm_eps": 1e-5,
                "sliding_window": 4096,
                "rope_theta": 10000.0,
            },
            idle=("use_parallel_embedding",),
        ),
    ),
)
