"""Phi 3, 3.5 and 4: queries, keys and values fused, gate and up fused, a part of each head turned.

llama.cpp has switched this architecture's window off: the context ends where it would begin to slide.
"""

from sixgig.families.terms.blocks import Blocks, Pairs
from sixgig.families.terms.config import Config
from sixgig.families.terms.family import Family
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.rotary import Takes, stretching
from sixgig.families.terms.sources import common_keys, norms, outside, weight
from sixgig.families.terms.transforms import require

_TURNS = ("default", "longrope", "su")


def phi3_keys(config: Config) -> Keys:
    """With the channels that are turned."""
    width, kind = config.n_heads * config.head_width, config.rope.text("rope_type", default="default")
    require(width == config.integer("hidden_size"), "config.json: llama.cpp's phi3 derives heads", f"{width}")
    require(kind in _TURNS, f"config.json: rope_type is {kind[:40]!r}", f"Phi 3 has {', '.join(_TURNS)}")
    return common_keys(config, takes=Takes.LONG_AND_SHORT) | {"rope.dimension_count": config.n_rotary}


FAMILY = Family(
    "phi3",
    recipes=(
        Recipe(
            ("Phi3ForCausalLM",),
            (
                *outside(),
                *norms(),
                *weight("self_attn.qkv_proj", "attn_qkv"),
                *weight("self_attn.o_proj", "attn_output"),
                *weight("mlp.gate_up_proj", "ffn_up"),
                *weight("mlp.down_proj", "ffn_down"),
            ),
            phi3_keys,
            stretching(Takes.LONG_AND_SHORT),
            settled={"full_attn_mod": (1, None), "interpolate_factor": (1, None), "lm_head_bias": False},
            defaults={
                "tie_word_embeddings": False,
                "rope_theta": 10000.0,
                "original_max_position_embeddings": 4096,
                "rms_norm_eps": 1e-5,
            },
        ),
    ),
    tuning=Blocks(Pairs.HALVES, frequency_factors=True, gate_in_up=True),
)
