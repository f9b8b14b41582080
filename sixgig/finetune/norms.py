"""Root mean square norm (Zhang and Sennrich 2019, arXiv 1910.07467), before a block and behind it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from sixgig.finetune.operands import Weights


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Over the last axis, which has the length of `weight`; in x's type."""
    return F.rms_norm(x, weight.shape, weight.to(x.dtype), epsilon)


@dataclass(frozen=True)
class Addition:
    """How what a block computes comes to the stream: through the norm behind it, "" without one; scaled."""

    norm: str
    scale: float

    def to(self, x: Tensor, y: Tensor, weights: Weights, epsilon: float) -> Tensor:
        """The stream x with y added."""
        if self.norm:
            y = rms_norm(y, weights.vector(self.norm), epsilon)
        return x + (y if self.scale == 1 else self.scale * y)
