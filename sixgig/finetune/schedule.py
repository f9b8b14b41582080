"""How large a step is and how far it goes: tokens, epochs, each step's learning rate. Known without PyTorch.

Small data: a few rows a step and more epochs, until there are steps enough for a low-rank adapter to move at
the usual rates; early stopping guards against too many. Others advise the same sizes: 2 to 16 rows a step,
about 2e-4, a warm-up of 5 to 10%, and at least tens of steps (guides of Unsloth, axolotl, LLaMA-Factory).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

LAST_SHARE = 0.1  # of the peak, in the last step
BATCH_TOKENS = 4096  # of a step, where there are enough
FEWEST_ROWS = 4  # of a step, on average: fewer make its gradient mostly noise
FEWEST_STEPS = 60
EPOCHS, MOST_EPOCHS = 2, 12
MICRO_TOKENS = 1024


@dataclass(frozen=True)
class StepSize:
    """Tokens of a step. context: of a document at most. batch, epochs: as asked, None by the data's size.

    longest: of the documents, once they were read.
    """

    context: int
    batch: int | None = None
    epochs: int | None = None
    longest: int | None = None

    @property
    def least_epochs(self) -> int:
        """As asked; by default more where there is little data."""
        return EPOCHS if self.epochs is None else self.epochs

    def fitted_to(self, lengths: Sequence[int]) -> StepSize:
        """For documents of these lengths: with a batch that suits them, where none was asked for."""
        batch = batch_tokens(lengths, self.least_epochs) if self.batch is None else self.batch
        return replace(self, batch=batch, longest=max(lengths))

    @property
    def micro_tokens(self) -> int:
        """Tokens that go through attention together: memory does not decide it, so nor does it the bits."""
        longest = self.context if self.longest is None else self.longest
        return max(longest, min(self._most_tokens, MICRO_TOKENS))

    @property
    def micro_batches(self) -> int:
        """Micro-batches in a step: one at least, even if the longest document is longer than the batch."""
        return max(1, self._most_tokens // self.micro_tokens)

    @property
    def step_tokens(self) -> int:
        """Tokens in a step at most."""
        return self.micro_batches * self.micro_tokens

    @property
    def _most_tokens(self) -> int:
        return BATCH_TOKENS if self.batch is None else self.batch


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
