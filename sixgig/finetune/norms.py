"""Root mean square norm (Zhang and Sennrich 2019, arXiv 1910.07467)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Over the last axis, which has the length of `weight`; in x's type."""
    return F.rms_norm(x, weight.shape, weight.to(x.dtype), epsilon)
