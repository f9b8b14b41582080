"""A model as a list of blocks, each of which adds to the residual stream; built from what its file declares.

Covers llama (dense and Mixtral), qwen3, qwen3moe, qwen35moe. Does not cover: multi-token prediction layers,
which are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from sixgig.errors import ModelFileError
from sixgig.finetune.attention import attention
from sixgig.finetune.claims import Claims, uncovered
from sixgig.finetune.feed_forward import feed_forward
from sixgig.finetune.mixture import mixture
from sixgig.finetune.operands import Operands
from sixgig.finetune.recurrence import delta_net
from sixgig.finetune.rope import read_rope
from sixgig.modelfile import ModelFile
from sixgig.modelfile.counts import Counts

ARCHITECTURES = ("llama", "qwen3", "qwen3moe", "qwen35moe")
_DEFAULT_INTERVAL = 4  # qwen35moe: every such layer attends where the file does not say


class Block(Protocol):
    """Half a layer: attention (or Gated DeltaNet), or the feed-forward part, with norm and residual sum.

    layer: its number. dense, routed: names of the tensors it reads, stacks of experts apart. joined: tokens
    of all micro-batches go through together (routed experts: one product per expert); else one micro-batch
    at a time.
    """

    layer: int
    dense: tuple[str, ...]
    routed: tuple[str, ...]
    joined: bool

    def forward(self, x: Tensor, documents: Sequence[int], operands: Operands) -> Tensor:
        """The stream after the block. x (tokens, n_embd); documents: lengths that add up to the tokens.

        Nothing passes from one document to another, and positions begin at 0 in each.
        """


@dataclass(frozen=True)
class Net:
    """blocks: in order. The other names are of tensors outside the layers; head and embedding may be one."""

    model: ModelFile
    blocks: tuple[Block, ...]
    embedding: str
    final_norm: str
    head: str
    norm_epsilon: float


def build_net(model: ModelFile) -> Net:
    """The blocks of all layers that run, in order.

    ModelFileError, naming the first tensor or key, for a model that would compute something else: another
    architecture, a tensor that is missing, of another shape or left over, a setting that is not covered.
    """
    if model.architecture not in ARCHITECTURES:
        numbers = f"{', '.join(ARCHITECTURES)} can be"
        raise ModelFileError(f"a model of architecture {model.architecture} cannot be tuned", numbers)
    _check_settings(model)
    claims, rope, epsilon = Claims(model), read_rope(model), _epsilon(model)
    blocks: list[Block] = []
    for layer in range(model.n_layers - model.hyperparameters.n_prediction_layers):
        if _is_recurrent(model, layer):
            blocks.append(delta_net(model, layer, claims, epsilon))
        else:
            blocks.append(attention(model, layer, rope, claims, epsilon))
        make = mixture if model.n_experts else feed_forward
        blocks.append(make(model, layer, claims, epsilon))
    embedding = claims.need("token_embd.weight", model.n_embd, model.n_vocab)
    head = "output.weight"
    head = claims.need(head, model.n_embd, model.n_vocab) if head in claims else embedding
    final_norm = claims.need("output_norm.weight", model.n_embd)
    claims.require_all_taken()
    return Net(model, tuple(blocks), embedding, final_norm, head, epsilon)


def _is_recurrent(model: ModelFile, layer: int) -> bool:
    """As llama.cpp decides: by the file's flags, else by the interval."""
    if model.architecture != "qwen35moe":
        return False
    if model.attention.recurrent_layers:
        return model.attention.recurrent_layers[layer]
    return (layer + 1) % (model.attention.full_attention_interval or _DEFAULT_INTERVAL) != 0


def _epsilon(model: ModelFile) -> float:
    counts, name = Counts(model.metadata, model.architecture), "attention.layer_norm_rms_epsilon"
    counts.require(name in counts, name, "missing")
    return counts.number(name, default=0.0)


def _check_settings(model: ModelFile) -> None:
    """What llama.cpp would heed and no block computes."""
    counts = Counts(model.metadata, model.architecture)
    n_layers = model.n_layers - model.hyperparameters.n_prediction_layers
    if not counts.number("attention.causal", default=1):
        raise uncovered(model, "attention.causal", False, "causal attention")
    if (groups := counts.number("expert_group_count", default=0)) > 1:
        raise uncovered(model, "expert_group_count", groups, "1")
    used = counts.each("expert_used_count", model.n_layers, model.n_experts, (0,) * model.n_layers)[:n_layers]
    if len(set(used)) > 1:
        raise uncovered(model, "expert_used_count", used, "one number for all layers")
