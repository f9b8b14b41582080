"""A model as a list of blocks, each of which adds to the residual stream; built from what its file declares.

Covers llama (dense and Mixtral), qwen3, qwen3moe, qwen35moe. Does not cover: multi-token prediction layers,
which are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from sixgig.finetune.operands import Operands
from sixgig.modelfile import ModelFile


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
