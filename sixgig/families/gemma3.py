"""Gemma 3: norms before and after each part, most layers look back a window only."""

from sixgig.families.terms.blocks import Activation, Blocks, Pairs
from sixgig.families.terms.family import Family, SlidingRule

FAMILY = Family(
    "gemma3",
    sliding=SlidingRule(6),
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
