"""A small model held whole, dequantised: what the streamed one is measured against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sixgig.finetune.net import Net
from sixgig.finetune.operands import ExpertGroup, Operands
from sixgig.modelfile import ModelFile
from sixgig.weights.stored import StoredWeights


class ResidentWeights:
    """operands.Weights that stay valid. dtype: of matrices; group_size: experts in a group."""

    def __init__(self, model: ModelFile, dtype: torch.dtype = torch.float32, group_size: int = 4) -> None:
        stored = StoredWeights(model)
        self._group_size, self._n_experts = group_size, model.n_experts
        self._vectors = {
            info.name: torch.from_numpy(stored.rows(info.name, 0, info.n_rows).reshape(info.shape[::-1]))
            for info in stored.tensors
        }
        self._matrices = {name: values.to(dtype) for name, values in self._vectors.items() if values.ndim > 1}

    def __contains__(self, name: str) -> bool:
        """Whether the model has this tensor."""
        return name in self._vectors

    def matrix(self, name: str) -> Tensor:
        """As operands.Weights."""
        return self._matrices[name]

    def vector(self, name: str) -> Tensor:
        """As operands.Weights."""
        return self._vectors[name]

    def expert_groups(self, layer: int) -> Iterator[ExpertGroup]:
        """As operands.Weights."""
        for first in range(0, self._n_experts, self._group_size):
            last = min(first + self._group_size, self._n_experts)
            yield _Group(first, last, self._matrices)


@dataclass
class _Group:
    """operands.ExpertGroup."""

    first: int
    last: int
    stacks: dict[str, Tensor]

    def matrix(self, name: str, expert: int) -> Tensor:
        """As operands.ExpertGroup."""
        return self.stacks[name][expert]


def forward_logits(net: Net, operands: Operands, tokens: Tensor, documents: Sequence[int]) -> Tensor:
    """Logits (tokens, n_vocab) of tokens (tokens,), int64, in documents of these lengths."""
    rows = operands.weights.matrix(net.embedding)[tokens]
    x = rows.to(torch.promote_types(rows.dtype, torch.float32)) * net.embedding_scale
    for block in net.blocks:
        x = block.forward(x, documents, operands)
    return logits_of(net, operands, x)


def logits_of(net: Net, operands: Operands, x: Tensor) -> Tensor:
    """Of the stream after the last block."""
    logits = operands.linear(net.head.removesuffix(".weight"), net.normed(x, operands.weights))
    return torch.tanh(logits / net.logit_cap) * net.logit_cap if net.logit_cap else logits
