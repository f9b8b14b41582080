"""How large a step is and how far it goes: tokens, epochs, each step's learning rate, the gradient's bound.

Small data: a few rows a step and more epochs, until there are steps enough for a low-rank adapter to move at
the usual rates; early stopping guards against too many. Others advise the same sizes: 2 to 16 rows a step,
about 2e-4, a warm-up of 5 to 10%, and at least tens of steps (guides of Unsloth, axolotl, LLaMA-Factory).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

LAST_SHARE = 0.1  # of the peak, in the last step
BATCH_TOKENS = 4096  # of a step, where there are enough
FEWEST_ROWS = 4  # of a step, on average: fewer make its gradient mostly noise
FEWEST_STEPS = 60
EPOCHS, MOST_EPOCHS = 2, 12


def batch_tokens(lengths: Sequence[int], epochs: int) -> int:
    """Tokens of a step for documents of these lengths: few enough for FEWEST_STEPS in so many epochs, but of
    FEWEST_ROWS documents at least."""
    total = sum(lengths)
    rows = -(-FEWEST_ROWS * total // len(lengths))
    return min(BATCH_TOKENS, max(rows, epochs * total // FEWEST_STEPS))


def epochs_for(n_steps: Callable[[int], int]) -> int:
    """The fewest epochs, from EPOCHS to MOST_EPOCHS, that take FEWEST_STEPS. n_steps: of so many epochs."""
    enough = (epochs for epochs in range(EPOCHS, MOST_EPOCHS) if n_steps(epochs) >= FEWEST_STEPS)
    return next(enough, MOST_EPOCHS)


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
