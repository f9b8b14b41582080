"""What IBM's Granite families share: multipliers that become scales."""

from typing import Any

from sixgig.families.terms.blocks import Blocks, Pairs
from sixgig.families.terms.config import Config
from sixgig.families.terms.recipe import Keys, Settled
from sixgig.families.terms.rotary import TENSORS
from sixgig.families.terms.sources import common_keys

BLOCKS = Blocks(Pairs.NEIGHBOURS, frequency_factors=True, biases=True, scales=True)
SETTLED: dict[str, Settled] = {
    "position_embedding_type": ("rope", None),
    "normalization_function": ("rmsnorm", None),
}
DEFAULTS: dict[str, Any] = {"tie_word_embeddings": False, "attention_bias": False, "rope_theta": 10000.0}


def granite_keys(config: Config) -> Keys:
    """With the multipliers."""
    return common_keys(config, takes=TENSORS) | {
        "rope.dimension_count": config.head_width,
        "vocab_size": config.integer("vocab_size"),
        "attention.scale": config.number("attention_multiplier", default=1.0),
        "embedding_scale": config.number("embedding_multiplier", default=1.0),
        "residual_scale": config.number("residual_multiplier", default=1.0),
        "logit_scale": config.number("logits_scaling", default=1.0),
    }
