"""Routers drawn so that no constant part of their input decides, and what routers read and choose."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from sixgig.families import Role
from sixgig.inference import Engine, EngineOptions
from sixgig.llamacpp.observe import Floats, Ids, Product
from sixgig.modelfile import ModelFile

READERS = {Role.FEED_FORWARD: "ffn_gate.weight", Role.ROUTED_EXPERT: "ffn_gate_exps.weight"}


class Heard:
    """An observe.Observer: what the feed-forward part of each layer read, and which experts did.

    inputs[layer]: rows of n_embd; chosen[layer]: rows of expert ids, most likely first.
    """

    def __init__(self, model: ModelFile) -> None:
        self._layers = {
            tensor.name: tensor.layer
            for tensor in model.tensors
            if tensor.layer is not None and tensor.name.endswith(READERS.get(tensor.role, "-"))
        }
        self.inputs: dict[int, list[Floats]] = {layer: [] for layer in self._layers.values()}
        self.chosen: dict[int, list[Ids]] = {}

    @property
    def weights(self) -> Collection[str]:
        """As observe.Observer."""
        return self._layers

    def begin(self) -> None:
        """As observe.Observer."""

    def product(self, product: Product) -> None:
        """As observe.Observer."""
        layer = self._layers[product.weight]
        self.inputs[layer] += list(product.inputs.reshape(-1, product.inputs.shape[-1]).copy())
        if product.ids is not None:
            self.chosen.setdefault(layer, []).extend(product.ids.copy())

    def weighted(self, layer: int, outputs: Floats, ids: Ids) -> None:
        """As observe.Observer."""

    def stream(self, layer: int, values: Floats) -> None:
        """As observe.Observer."""


def hear(model: ModelFile, tokens: Sequence[int], threads: int) -> Heard:
    """All tokens in one pass of the whole model in memory."""
    heard, n = Heard(model), len(tokens)
    options = EngineOptions(context=n, ubatch=n, threads=threads, extra_buffers=False)
    with Engine(model.parts, options, observe=heard) as engine:
        engine.feed(tokens)
    return heard


def first_routers(
    dense: ModelFile, tokens: Sequence[int], n_experts: int, seed: int, threads: int
) -> list[NDArray[np.float32]]:
    """Of each layer, [n_experts, n_embd]; drawn by the seed, fitted to what the layer reads on these tokens.

    Each logit has mean 0 and deviation 1 there: the mean input, far from 0 in a trained model, would send all
    tokens to the same experts, and so would a few channels that are larger than all others.
    """
    heard, random = hear(dense, tokens, threads), np.random.default_rng(seed)
    return [_router(np.stack(heard.inputs[layer]), n_experts, random) for layer in range(dense.n_layers)]


def _router(inputs: Floats, n_experts: int, random: np.random.Generator) -> NDArray[np.float32]:
    exact = inputs.astype(np.float64)
    mean, deviation = exact.mean(0), exact.std(0).clip(1e-6)
    rows = random.standard_normal((n_experts, exact.shape[1])) / deviation
    rows -= np.outer(rows @ mean, mean) / (mean @ mean)
    return (rows / (exact @ rows.T).std(0)[:, None]).astype(np.float32)
