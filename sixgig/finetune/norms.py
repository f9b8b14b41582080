"""Root mean square norm (Zhang and Sennrich 2019, arXiv 1910.07467)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from sixgig.finetune.operands import Weights


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Over the last axis, which has the length of `weight`; in x's type."""
    return F.rms_norm(x, weight.shape, weight.to(x.dtype), epsilon)


def norm_after(y: Tensor, name: str, weights: Weights, epsilon: float) -> Tensor:
    """What a block adds to the stream, through the norm `name` behind it; as it is where that is ""."""
    return rms_norm(y, weights.vector(name), epsilon) if name else y
