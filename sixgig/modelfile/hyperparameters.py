"""The numbers of a model that everyone needs, read once and checked.

Covers what llama.cpp would end the process over; what it refuses by itself is left to it.
"""

from dataclasses import dataclass

from sixgig.families import Family
from sixgig.modelfile.counts import Counts
from sixgig.modelfile.metadata import Metadata

MAX_LAYERS = 512  # llama.cpp's LLAMA_MAX_LAYERS
MAX_EXPERTS = 1024  # llama.cpp's LLAMA_MAX_EXPERTS
_MAX_LENGTH = 2**31 - 1
_LAST_GATE = 4  # llama.cpp's LLAMA_EXPERT_GATING_FUNC_TYPE_SQRT_SOFTPLUS


@dataclass(frozen=True)
class Hyperparameters:
    """Counts; `n_layers` includes the `n_prediction_layers` (multi-token prediction) at the end.

    `feed_forward_lengths` has the dense hidden width of each layer; widths are 0 where the file says none.
    """

    n_layers: int
    n_prediction_layers: int
    n_embd: int
    context_length: int
    n_experts: int
    n_experts_used: int
    feed_forward_lengths: tuple[int, ...] = ()
    expert_feed_forward_length: int = 0
    shared_expert_feed_forward_length: int = 0


def read_hyperparameters(metadata: Metadata, family: Family) -> Hyperparameters:
    """The checked numbers; ModelFileError names the key that is missing or out of range."""
    counts = Counts(metadata, family.architecture)
    n_layers = counts.one("block_count", 1, MAX_LAYERS)
    n_experts = counts.one("expert_count", 0, MAX_EXPERTS, default=0)
    _check_routing(counts, n_experts)
    return Hyperparameters(
        n_layers=n_layers,
        n_prediction_layers=counts.one("nextn_predict_layers", 0, n_layers, default=0),
        n_embd=counts.one("embedding_length", 1, _MAX_LENGTH),
        context_length=counts.one("context_length", 0, _MAX_LENGTH),
        n_experts=n_experts,
        n_experts_used=counts.most("expert_used_count", n_layers, min(n_experts, 1), n_experts),
        feed_forward_lengths=counts.each("feed_forward_length", n_layers, _MAX_LENGTH, (0,) * n_layers),
        expert_feed_forward_length=counts.one("expert_feed_forward_length", 0, _MAX_LENGTH, 0),
        shared_expert_feed_forward_length=counts.one("expert_shared_feed_forward_length", 0, _MAX_LENGTH, 0),
    )


def _check_routing(counts: Counts, n_experts: int) -> None:
    """The gate is one llama.cpp knows; groups divide the experts, and fewer are used than there are."""
    counts.one("expert_gating_func", 0, _LAST_GATE, default=0)
    n_groups = counts.one("expert_group_count", 0, max(n_experts - 1, 0), default=0)
    if n_groups > 1:
        counts.one("expert_group_used_count", 1, n_groups - 1, default=0)
        divides = n_experts % n_groups == 0
        counts.require(divides, "expert_group_count", f"{n_groups} does not divide {n_experts} experts")
