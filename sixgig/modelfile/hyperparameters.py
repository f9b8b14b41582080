"""The numbers of a model that everyone needs, read once, within the bounds that our own arithmetic needs.

What makes no model is the engine's to say (inference/trial.py); 0 or an empty array means "not there".
"""

from dataclasses import dataclass

from sixgig.families import Family
from sixgig.modelfile.counts import Counts
from sixgig.modelfile.metadata import Metadata

MAX_LAYERS = 512  # llama.cpp's LLAMA_MAX_LAYERS
MAX_EXPERTS = 1024  # llama.cpp's LLAMA_MAX_EXPERTS
_MAX_LENGTH = 2**31 - 1
_EPSILONS = tuple(f"attention.{kind}_epsilon" for kind in ("layer_norm", "layer_norm_rms", "group_norm"))


@dataclass(frozen=True)
class Hyperparameters:
    """Counts; `n_layers` includes the `n_prediction_layers` (multi-token prediction) at the end.

    `feed_forward_lengths` has the dense hidden width of each layer, `expert_feed_forward_length` that of an
    expert (the largest, where layers differ); 0 where the file says none.
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
    _check_epsilons(counts)
    n_layers = counts.one("block_count", 1, MAX_LAYERS)
    n_experts = counts.one("expert_count", 0, MAX_EXPERTS, default=0)
    return Hyperparameters(
        n_layers=n_layers,
        n_prediction_layers=counts.one("nextn_predict_layers", 0, n_layers, default=0),
        n_embd=counts.one("embedding_length", 1, _MAX_LENGTH),
        context_length=counts.one("context_length", 0, _MAX_LENGTH),
        n_experts=n_experts,
        n_experts_used=counts.most("expert_used_count", n_layers, MAX_EXPERTS),
        feed_forward_lengths=counts.each("feed_forward_length", n_layers, _MAX_LENGTH, (0,) * n_layers),
        expert_feed_forward_length=counts.most("expert_feed_forward_length", n_layers, _MAX_LENGTH),
        shared_expert_feed_forward_length=counts.one("expert_shared_feed_forward_length", 0, _MAX_LENGTH, 0),
    )


def _check_epsilons(counts: Counts) -> None:
    """What norms add to a variance; with another number some kernels abort, and others give nonsense."""
    for name in _EPSILONS:
        value = counts.number(name, default=0.0)
        counts.require(0 <= value < 1, name, f"{value}, must be at least 0 and below 1")
