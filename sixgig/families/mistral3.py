"""Ministral 3, and Mistral Small 3.1 with its kin.

Ministral's queries grow with the position past the length it was trained with, as Llama 4's do.
"""

from dataclasses import replace

from sixgig.families.terms.blocks import Blocks, Pairs
from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import DenseCuts, Freedom
from sixgig.families.terms.family import Family
from sixgig.families.terms.mistral import PICTURES, PICTURES_IDLE, ROPE_IDLE, growth
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.rotary import Takes, stretching
from sixgig.families.terms.sources import ROTARY_ATTENTION, common_keys, feed_forward, norms, outside
from sixgig.families.terms.transforms import require

_TAKES = Takes.DIVISORS | Takes.LONG_AND_SHORT | Takes.EDGES
_GROWING, _PLAIN = "ministral3", ("mistral", "mistral3")  # the last where text_config does not say it
_OF_PLAIN = {"sliding_window": 4096, "rope_theta": 10000.0, "rms_norm_eps": 1e-6}


def mistral3_keys(config: Config) -> Keys:
    """With the growth of queries, of Ministral 3 only."""
    kind, grown = config.text("model_type"), Keys()
    require(kind in (_GROWING, *_PLAIN), "config.json: its text is no Mistral", f"{kind[:40]!r}")
    if kind == _GROWING:
        beta, trained = growth(config)
        grown |= {"attention.temperature_scale": beta, "rope.scaling.original_context_length": trained}
    else:
        config = config.or_else(_OF_PLAIN)
    sizes: Keys = {
        "rope.dimension_count": config.head_width,
        "vocab_size": config.integer("vocab_size"),
    }
    return common_keys(config, takes=_TAKES) | sizes | grown


_MINISTRAL = Recipe(
    ("Ministral3ForCausalLM",),
    (*outside(), *norms(), *ROTARY_ATTENTION, *feed_forward()),
    mistral3_keys,
    stretching(_TAKES),
    defaults={"tie_word_embeddings": False},
    idle=(ROPE_IDLE,),
)
FAMILY = Family(
    "mistral3",
    recipes=(
        _MINISTRAL,
        replace(
            _MINISTRAL,
            names=("Mistral3ForConditionalGeneration",),
            ignored=PICTURES,
            defaults={"tie_word_embeddings": True},
            idle=(ROPE_IDLE, *PICTURES_IDLE),
        ),
    ),
    tuning=Blocks(Pairs.NEIGHBOURS, frequency_factors=True, yarn_keys=True, temperature=True, biases=True),
    dense_cuts=DenseCuts(Freedom.UNIFORM, Freedom.UNIFORM, output_bias=True),
)
