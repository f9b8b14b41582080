"""Synthetic routing with published routers' statistics: a stand-in where no recorded trace is at hand.

Each layer routes by top-k of a fixed random router over a hidden state made of four parts: a topic that
drifts over `topic_tokens`, a context that drifts over `context_tokens`, the token's own vector (tokens are
Zipf-distributed) and noise. A fixed bias gives static skew. Covers locality, repeats, and skew; does not
cover correlation of neighbouring layers beyond what the shared state gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sixgig.pager.trace import Shape, Trace, Visit

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Routing:
    """How much each part of the hidden state weighs (squared weights need not sum to one)."""

    topic: float = 1.0
    context: float = 1.0
    token: float = 0.6
    noise: float = 0.35
    skew: float = 0.3
    topic_tokens: float = 400.0
    context_tokens: float = 24.0
    vocabulary: int = 4000
    hidden: int = 48


def synthetic_trace(
    n_layers: int,
    n_experts: int,
    top_k: int,
    n_tokens: int,
    expert_bytes: int = 1 << 20,
    routing: Routing | None = None,
    seed: int = 0,
) -> Trace:
    """Decode trace of `n_tokens` tokens, one visit per token and layer, every expert `expert_bytes` long."""
    rng = np.random.default_rng(seed)
    hidden = _hidden_states(routing or Routing(), n_layers, n_tokens, rng)
    chosen = [_route(states, n_experts, top_k, (routing or Routing()).skew, rng) for states in hidden]
    shape = Shape(n_experts, (expert_bytes,) * n_layers)
    return Trace(shape, tuple(_visits(chosen)))


def _visits(chosen: list[NDArray[np.int64]]) -> Iterator[Visit]:
    n_layers, n_tokens = len(chosen), len(chosen[0])
    for token in range(n_tokens):
        for layer in range(n_layers):
            experts = tuple(int(expert) for expert in chosen[layer][token])
            yield Visit(token * n_layers + layer, layer, 1, experts)


def _route(
    states: Floats, n_experts: int, top_k: int, skew: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Expert ids [n_tokens, top_k] of a random router over states [n_tokens, hidden]."""
    router = rng.standard_normal((states.shape[1], n_experts)) / np.sqrt(states.shape[1])
    logits = states @ router + skew * rng.standard_normal(n_experts)
    return np.argsort(-logits, axis=1)[:, :top_k]


def _hidden_states(
    routing: Routing, n_layers: int, n_tokens: int, rng: np.random.Generator
) -> Iterator[Floats]:
    """One array [n_tokens, hidden] per layer: shared topic, context and tokens in that layer's own basis."""
    n = routing.hidden
    topic = routing.topic * _drift(n_tokens, n, routing.topic_tokens, rng)
    context = routing.context * _drift(n_tokens, n, routing.context_tokens, rng)
    vectors = rng.standard_normal((routing.vocabulary, n))
    token = routing.token * vectors[_zipf_tokens(n_tokens, routing.vocabulary, rng)]
    for _ in range(n_layers):
        basis = rng.standard_normal((n, n)) / np.sqrt(n)
        yield (topic + context + token) @ basis + routing.noise * rng.standard_normal((n_tokens, n))


def _drift(n_tokens: int, n: int, tokens: float, rng: np.random.Generator) -> Floats:
    """A stationary unit-variance walk [n_tokens, n] that forgets by 1/e in `tokens` steps."""
    keep = np.exp(-1.0 / tokens)
    states = rng.standard_normal((n_tokens, n))
    states[1:] *= np.sqrt(1.0 - keep * keep)
    for step in range(1, n_tokens):
        states[step] += keep * states[step - 1]
    return states


def _zipf_tokens(n_tokens: int, vocabulary: int, rng: np.random.Generator) -> NDArray[np.int64]:
    weights = 1.0 / np.arange(1, vocabulary + 1)
    return rng.choice(vocabulary, size=n_tokens, p=weights / weights.sum())
