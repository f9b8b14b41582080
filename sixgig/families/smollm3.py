"""SmolLM3: a Llama of which every fourth layer turns no positions."""

from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import UNIFORM
from sixgig.families.terms.family import Family
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.sources import ROTARY_ATTENTION, common_keys, feed_forward, norms, outside
from sixgig.families.terms.transforms import require

_PERIOD = 4


def smollm3_keys(config: Config) -> Keys:
    """ModelFileError where other layers turn none than in llama.cpp's graph."""
    said, interval = config.items("no_rope_layers"), config.integer("no_rope_layer_interval", default=_PERIOD)
    turn = [bool(one) for one in said] or [number % interval != 0 for number in _layers(config)]
    wanted = [number % _PERIOD != 0 for number in _layers(config)]
    require(turn == wanted, "config.json: other layers turn no positions than in llama.cpp", str(said)[:60])
    return common_keys(config) | {
        "rope.dimension_count": config.head_width,
        "vocab_size": config.integer("vocab_size"),
    }


def _layers(config: Config) -> range:
    return range(1, config.n_layers + 1)


FAMILY = Family(
    "smollm3",
    dense_cuts=UNIFORM,
    recipes=(
        Recipe(
            ("SmolLM3ForCausalLM",),
            (*outside(), *norms(), *ROTARY_ATTENTION, *feed_forward()),
            smollm3_keys,
            settled={"attention_bias": False, "mlp_bias": False},
            defaults={
                "tie_word_embeddings": True,
                "attention_bias": False,
                "mlp_bias": False,
                "use_sliding_window": False,
                "rope_theta": 2e6,
            },
        ),
    ),
)
