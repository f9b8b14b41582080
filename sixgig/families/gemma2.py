"""Gemma 2: as Gemma 3 without norms of heads, with caps on scores and logits; every other layer a window."""

from sixgig.families.terms.attention_window import window_keys
from sixgig.families.terms.config import Config
from sixgig.families.terms.family import Family, SlidingRule
from sixgig.families.terms.gemma import DEFAULTS, LAYERS, SETTLED, require_scale, softcaps
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.sources import common_keys, headless
from sixgig.families.terms.transforms import PLUS_ONE, require

_PERIOD, _LAYERS_OF_27B, _WINDOW = 2, 46, 4096
_CAPS = ("attn_logit_softcapping", "final_logit_softcapping")


def gemma2_keys(config: Config) -> Keys:
    """With the caps and the window, both of which llama.cpp's graph always has."""
    require_scale(config, _LAYERS_OF_27B)
    caps, window = softcaps(config, *_CAPS), window_keys(config, _PERIOD)
    require(len(caps) == len(_CAPS), "config.json: llama.cpp's gemma2 caps scores and logits", f"{[*caps]}")
    require(bool(window), "config.json: llama.cpp's gemma2 has a window", "no layer slides")
    return common_keys(config, slides=True) | caps | window


FAMILY = Family(
    "gemma2",
    sliding=SlidingRule(_PERIOD, default=_WINDOW),
    recipes=(
        Recipe(
            ("Gemma2ForCausalLM",),
            (*headless(PLUS_ONE), *LAYERS),
            gemma2_keys,
            settled=SETTLED | {"use_bidirectional_attention": (False, None), "tie_word_embeddings": True},
            defaults=DEFAULTS
            | {
                "head_dim": 256,
                "query_pre_attn_scalar": 256,
                "sliding_window": _WINDOW,
                "final_logit_softcapping": 30.0,
                "attn_logit_softcapping": 50.0,
                "rope_theta": 10000.0,
            },
        ),
    ),
)
