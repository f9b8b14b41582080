"""Embeddings with topics: tokens of one topic point partly the same way, so they share experts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bench.synthetic.shape import Shape
from bench.synthetic.vocabulary import FIRST_TOKEN

Floats = npt.NDArray[np.float32]
SLICE_ROWS = 512


def topic_of(tokens: npt.NDArray[np.int64], topics: int) -> npt.NDArray[np.int64]:
    """The topic of each token id: ids go round the topics in turn."""
    return (tokens - FIRST_TOKEN) % topics


def embedding_rows(shape: Shape) -> Iterator[Floats]:
    """Slices (rows, n_embd) of the embedding, root mean square about 1. The same rows at every call."""
    rng = np.random.default_rng([shape.seed, 1])
    centres = rng.standard_normal((shape.dynamics.topics, shape.n_embd), dtype=np.float32)
    shared, own = np.sqrt(shape.dynamics.topic_share), np.sqrt(1 - shape.dynamics.topic_share)
    for start in range(0, shape.n_vocab, SLICE_ROWS):
        ids = np.arange(start, min(start + SLICE_ROWS, shape.n_vocab))
        noise = rng.standard_normal((len(ids), shape.n_embd), dtype=np.float32)
        yield (shared * centres[topic_of(ids, shape.dynamics.topics)] + own * noise).astype(np.float32)


def head_rows(shape: Shape) -> Iterator[Floats]:
    """Slices of the head: the embedding, scaled so that a token's own logit is about `head_sharpness`."""
    scale = np.float32(shape.dynamics.head_sharpness / shape.n_embd)
    for rows in embedding_rows(shape):
        yield rows * scale
