"""What a stock llama.cpp still loads of a model that has lost heads, channels or experts.

Source: the loaders of the pinned llama.cpp (src/models/*.cpp) and its build_moe_ffn; what a family
declares is loaded and compared by tests/shrink/test_structure*.py. "Fixed" also stands where nobody has
verified more.
"""

from dataclasses import dataclass
from enum import StrEnum


class Freedom(StrEnum):
    """How an extent may change."""

    FIXED = "fixed"
    UNIFORM = "the same in every layer"
    PER_LAYER = "its own in every layer"


class SharedWidth(StrEnum):
    """Where llama.cpp takes the shared experts' width from when the routed ones become narrower.

    OWN: a key that has nothing to do with it. STATED: a key whose default is the routed width, so it must be
    written. STATED_EACH: the like, times expert_shared_count. COUNTED: the routed width times
    expert_shared_count, which must then change. SAME: the routed width.
    """

    OWN = "own"
    STATED = "stated"
    STATED_EACH = "stated each"
    COUNTED = "counted"
    SAME = "same"


@dataclass(frozen=True)
class DenseCuts:
    """What a dense model may lose.

    heads: key-value groups with their query heads. widths: feed-forward channels. output_bias: loads
    attn_output.bias and ffn_down.bias that were not there. carrier: an architecture with the same graph
    under which the file may be written to get more.
    """

    heads: Freedom = Freedom.FIXED
    widths: Freedom = Freedom.FIXED
    output_bias: bool = False
    carrier: str | None = None


@dataclass(frozen=True)
class ExpertCuts:
    """Any uniform number of experts and any uniform width, within what stands here.

    width_key: metadata, without the architecture, that give the width. frozen_count: a number of experts by
    which llama.cpp knows a variant with another graph. renormalises: the gates of the chosen experts are
    divided by their sum (None: expert_weights_norm decides). softmax: gates are a softmax over all experts
    unless expert_gating_func says otherwise. plain: an expert is down(silu(gate(x)) * up(x)), without biases.
    """

    width_key: tuple[str, ...] = ("expert_feed_forward_length",)
    shared: SharedWidth = SharedWidth.OWN
    frozen_count: int = 0
    renormalises: bool | None = True
    softmax: bool = True
    plain: bool = True


UNIFORM = DenseCuts(heads=Freedom.UNIFORM, widths=Freedom.UNIFORM)
WIDTH_IS_FEED_FORWARD = ("feed_forward_length",)
WIDTH_IN_BOTH = ("feed_forward_length", "expert_feed_forward_length")
