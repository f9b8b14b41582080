"""Log-probabilities of a whole vocabulary in 16 bits each, as llama.cpp's perplexity tool stores them.

One row stands for one position: two float32, `scale` and `lowest`, then one uint16 for each token of the
vocabulary and one of padding where their number is odd. ln p = scale * value + lowest. Tokens more than 16
below the likeliest logit are clipped to that.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

CHUNK_VALUES = (
    1 << 18
)  # logits worked on together: 2 MiB for each float64 array, of which there are about four
SCRATCH_BYTES = 8 * 4 * CHUNK_VALUES
DEPTH = 16.0  # nats below the largest logit that are kept apart
STEPS = 65535
HEAD = 4  # uint16 that the two float32 take
Rows = NDArray[np.uint16]
Logits = NDArray[np.float32]
Floats = NDArray[np.float64]


def row_length(n_vocab: int) -> int:
    """Values of uint16 in one row."""
    return 2 * ((n_vocab + 1) // 2) + HEAD


def chunks(n_rows: int, n_vocab: int) -> Iterator[slice]:
    """Slices of rows that together hold CHUNK_VALUES values or are one row, so that copies stay small."""
    step = max(1, CHUNK_VALUES // n_vocab)
    return (slice(start, start + step) for start in range(0, n_rows, step))


def log_sum_exp(logits: Logits) -> Floats:
    """Logarithm of the sum of exp over the last axis, float64 [rows]; NaN where the logits are no numbers."""
    highest = logits.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        total = np.exp(logits - highest).sum(axis=1, dtype=np.float64)
    summed: Floats = highest[:, 0].astype(np.float64) + np.log(total)
    return summed


def pack(logits: Logits) -> Rows:
    """Logits, float32 [rows, vocabulary], to uint16 [rows, row_length]. The logits must be numbers."""
    (n_rows, n_vocab), highest = logits.shape, logits.max(axis=1)
    rows = np.zeros((n_rows, row_length(n_vocab)), np.uint16)
    floor = np.maximum(logits.min(axis=1), highest - np.float32(DEPTH))
    scale = (highest - floor) / np.float32(STEPS)
    head = rows[:, :HEAD].view(np.float32)
    head[:, 0], head[:, 1] = scale, floor - log_sum_exp(logits)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)
    steps = np.maximum(logits, floor[:, None]) - floor[:, None]
    steps *= inverse[:, None]
    rows[:, HEAD : HEAD + n_vocab] = np.rint(steps, out=steps).clip(0, STEPS)
    return rows


def unpack(rows: Rows, n_vocab: int) -> Floats:
    """Log-probability of each token, float64 [rows, vocabulary]."""
    head = rows[:, :HEAD].copy().view(np.float32).astype(np.float64)
    values = rows[:, HEAD : HEAD + n_vocab].astype(np.float64)
    values *= head[:, :1]
    values += head[:, 1:]
    return values
