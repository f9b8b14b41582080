"""OLMo 2 and 3, dense: norms behind each part only, and over all heads of queries and of keys together.

OLMo 3's layers look back a window but for every fourth, whose positions alone are stretched.
"""

from dataclasses import replace

from sixgig.families.terms.attention_window import window_keys
from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import DenseCuts, Freedom
from sixgig.families.terms.family import Family, SlidingRule
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.sources import attention, common_keys, feed_forward, head_norms, outside, weight
from sixgig.families.terms.transforms import require

_PERIOD = 4


def olmo2_keys(config: Config) -> Keys:
    """With the window, whose layers llama.cpp turns by the same base, unstretched."""
    window, keys = window_keys(config, _PERIOD), common_keys(config, slides=True)
    if window:
        rope, base = config.rope_of("sliding_attention"), config.rope.number("rope_theta")
        same = rope.number("rope_theta", default=base) == base
        plain = rope.text("rope_type", default="default") == "default"
        require(same and plain, "config.json: sliding layers turn otherwise than in llama.cpp", f"{base:g}")
    return keys | window


_OLMO2 = Recipe(
    ("Olmo2ForCausalLM",),
    (
        *outside(),
        *attention(),
        *head_norms(),
        *weight("post_attention_layernorm", "post_attention_norm"),
        *feed_forward(),
        *weight("post_feedforward_layernorm", "post_ffw_norm"),
    ),
    olmo2_keys,
    settled={"attention_bias": False, "tie_word_embeddings": False},
    defaults={"tie_word_embeddings": False, "attention_bias": False, "rope_theta": 10000.0},
)
FAMILY = Family(
    "olmo2",
    sliding=SlidingRule(_PERIOD),
    dense_cuts=DenseCuts(widths=Freedom.UNIFORM),
    recipes=(
        _OLMO2,
        replace(
            _OLMO2,
            names=("Olmo3ForCausalLM",),
            defaults=_OLMO2.defaults | {"sliding_window": 4096, "rope_theta": 5e5},
        ),
    ),
)
