"""Gemma 3: norms before and after each part, whose weights carry +1 in GGUF; most layers look back a window.

The embedding's scale is the graph's. Full layers and sliding ones turn positions by bases of their own.
"""

from sixgig.families.terms.attention_window import window_keys
from sixgig.families.terms.blocks import Activation, Blocks, Pairs
from sixgig.families.terms.config import Config
from sixgig.families.terms.family import Family, SlidingRule
from sixgig.families.terms.gemma import (
    CORE,
    DEFAULTS,
    SETTLED,
    VISION,
    require_scale,
    softcaps,
)
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.sources import common_keys, head_norms
from sixgig.families.terms.transforms import PLUS_ONE, require

_PERIOD, _LAYERS_OF_27B = 6, 62


def gemma3_keys(config: Config) -> Keys:
    """With the window and, where one is, the base of the layers in it."""
    require_scale(config, _LAYERS_OF_27B)
    found = common_keys(config, slides=True) | softcaps(config, "final_logit_softcapping")
    window, base = window_keys(config, _PERIOD), config.number("rope_local_base_freq")
    if window:
        rope = config.rope_of("sliding_attention")
        found["rope.freq_base_swa"] = rope.number("rope_theta", default=base)
        kind, factor = rope.text("rope_type", default="default"), found.get("rope.scaling.attn_factor", 1.0)
        apart = kind == "default" and factor == 1.0
        require(apart, "config.json: llama.cpp's gemma3 cannot stretch its window's positions", kind[:40])
    return found | window


FAMILY = Family(
    "gemma3",
    sliding=SlidingRule(_PERIOD),
    recipes=(
        Recipe(
            ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
            (*CORE, *head_norms(PLUS_ONE)),
            gemma3_keys,
            ignored=VISION,
            settled=SETTLED | {"use_bidirectional_attention": (False, None)},
            defaults=DEFAULTS
            | {
                "num_attention_heads": 8,
                "num_key_value_heads": 4,
                "head_dim": 256,
                "vocab_size": 262208,
                "max_position_embeddings": 131072,
                "rms_norm_eps": 1e-6,
                "query_pre_attn_scalar": 256,
                "sliding_window": 4096,
                "rope_theta": 1e6,
                "rope_local_base_freq": 10000.0,
            },
        ),
    ),
    tuning=Blocks(
        Pairs.HALVES,
        head_norms=True,
        scaled_by_stream=62,
        norms_after=("post_attention_norm", "post_ffw_norm"),
        activation=Activation.GELU,
        embedding_by_width=True,
        capped_logits=True,
    ),
)
