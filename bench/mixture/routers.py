"""Routers to begin with: random directions that no constant part of their input decides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.plain import PlainContext, Settings
from bench.routing_probe import RoutingProbe
from sixgig.modelfile import ModelFile

ROUTER_INPUT = "ffn_norm"


def first_routers(
    dense: ModelFile, tokens: list[int], n_experts: int, seed: int, threads: int
) -> list[NDArray[np.float32]]:
    """Of each layer, [n_experts, n_embd]; drawn by the seed, fitted to what the layer reads on these tokens.

    Each logit has mean 0 and deviation 1 there: the mean input, far from 0 in a trained model, would send all
    tokens to the same experts, and so would a few channels that are larger than all others.
    """
    inputs, random = _router_inputs(dense, tokens, threads), np.random.default_rng(seed)
    return [_router(inputs[layer], n_experts, random) for layer in range(dense.n_layers)]


def _router(inputs: NDArray[np.float64], n_experts: int, random: np.random.Generator) -> NDArray[np.float32]:
    mean, deviation = inputs.mean(0), inputs.std(0).clip(1e-6)
    rows = random.standard_normal((n_experts, inputs.shape[1])) / deviation
    rows -= np.outer(rows @ mean, mean) / (mean @ mean)
    return (rows / (inputs @ rows.T).std(0)[:, None]).astype(np.float32)


def _router_inputs(dense: ModelFile, tokens: list[int], threads: int) -> dict[int, NDArray[np.float64]]:
    """What each layer's feed-forward reads, [tokens, n_embd], by the stock library."""
    probe = RoutingProbe(ROUTER_INPUT)
    settings = Settings(threads=threads, context=len(tokens) + 64)
    with PlainContext(dense.parts[0], settings, probe.callback) as context:
        for token in tokens:
            context.decode(token)
    return {layer: np.stack(rows).astype(np.float64) for layer, rows in probe.inputs.items()}
