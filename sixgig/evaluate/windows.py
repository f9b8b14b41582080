"""Tokens of a text, cut into the windows that are scored.

The definition is that of llama.cpp's perplexity tool: windows of equal length without overlap, a rest that
fills none is left out; the first token of each is replaced by BOS where the vocabulary adds one; the tokens
after the middle of a window are scored, so that each has at least half a window before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import UsageError

SHORTEST, LONGEST = (
    4,
    1 << 24,
)  # tokens in a window
Tokens = NDArray[np.int32]


@dataclass(frozen=True)
class Windows:
    """tokens: int32 [windows, context], as the tokenizer gave them. bos: begins each window; None leaves
    it."""

    tokens: Tokens
    bos: int | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def context(self) -> int:
        """Tokens in a window."""
        return int(self.tokens.shape[1])

    @property
    def first(self) -> int:
        """Position whose successor is the first token scored."""
        return self.context // 2

    @property
    def n_scored(self) -> int:
        """Tokens scored in each window."""
        return scored(self.context)

    def inputs(self, number: int) -> list[int]:
        """What the model is fed for one window: all but the last token, which predicts nothing here."""
        row: list[int] = self.tokens[number, :-1].tolist()
        return row if self.bos is None else [self.bos, *row[1:]]

    def targets(self, number: int) -> Tokens:
        """The tokens scored in one window, int32 [n_scored]: those after positions `first`, `first` + 1,
        ..."""
        return self.tokens[number, self.first + 1 :]

    def leading(self, count: int | None) -> Windows:
        """The first `count` windows; all of them for None."""
        return Windows(self.tokens[:count], self.bos)


def scored(context: int) -> int:
    """Tokens scored in a window of `context`."""
    return context - 1 - context // 2


def cut(tokens: Sequence[int], context: int, bos: int | None = None, limit: int | None = None) -> Windows:
    """The windows of a text, at most `limit`. Raises UsageError for lengths that cannot be, or too short a
    text."""
    if not SHORTEST <= context <= LONGEST:
        raise UsageError(f"windows of {context} tokens are not possible", f"from {SHORTEST} to {LONGEST}")
    if limit is not None and limit < 1:
        raise UsageError(f"{limit} windows are not possible", "at least 1")
    count = len(tokens) // context
    if count == 0:
        numbers = f"{len(tokens)} tokens, {context} needed"
        raise UsageError(
            "the text is too short for one window", numbers, "use a longer one or lower --context"
        )
    count = count if limit is None else min(count, limit)
    return Windows(np.array(tokens[: count * context], np.int32).reshape(count, context), bos)
