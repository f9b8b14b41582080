"""How far a step goes: the learning rate of each step, and a bound on the gradient."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

LAST_SHARE = 0.1  # of the peak, in the last step


def learning_rate(step: int, total_steps: int, warmup_steps: int, peak: float) -> float:
    """Of step `step`, counted from 0: a line up to the peak, then half a cosine down to a tenth of it.

    The line is never 0: its first of `warmup_steps` steps has peak / warmup_steps.
    """
    if step < warmup_steps:
        return peak * ((step + 1) / warmup_steps)
    way = min(1.0, (step - warmup_steps) / max(1, total_steps - 1 - warmup_steps))
    return peak * (LAST_SHARE + (1 - LAST_SHARE) * (1 + math.cos(math.pi * way)) / 2)


def clip(parameters: Iterable[Tensor], limit: float) -> float:
    """The norm of all gradients together; they are shrunk to the limit when it is above, if it is finite.

    Summed in float64 and in the parameters' order: equal runs give equal bits.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = [float(torch.linalg.vector_norm(gradient, dtype=torch.float64)) for gradient in gradients]
    norm = math.hypot(*norms)
    if limit < norm < math.inf:
        for gradient in gradients:
            gradient.mul_(limit / norm)
    return norm
