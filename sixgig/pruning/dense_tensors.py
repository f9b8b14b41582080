"""The tensors of a dense layer that heads and feed-forward channels run through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sixgig.errors import UsageError
from sixgig.families import Role
from sixgig.families.terms.names import (
    ATTENTION_OUTPUT,
    FEED_FORWARD,
    KEY,
    QUERY,
    QUERY_KEY_VALUE,
    VALUE,
    in_layer,
    weight_in,
)
from sixgig.weights.cut import Indices
from sixgig.weights.stored import WeightInfo, Weights


@dataclass(frozen=True)
class Part:
    """Attention or the feed-forward network of one layer: `n_units` alike, of which some may go.

    A unit is a key-value group with its query heads, or a channel. output: the matrix that reads them,
    `unit_inputs` for each. makers: matrices and biases whose outputs make them, as many rows for each.
    """

    layer: int
    output: WeightInfo
    makers: tuple[WeightInfo, ...]
    n_units: int

    @property
    def unit_inputs(self) -> int:
        """Inputs of the output matrix that belong to one unit."""
        return self.output.row_length // self.n_units

    @property
    def unit_weights(self) -> int:
        """Weights that go with one unit, biases left out.

        With hidden width h and heads of d, g queries to a key-value head: (g d + 2 d + g d) h = d (2g + 2) h
        for a group, 3 h for a channel; the ratio d (2g + 2) / 3 is 512 / 3 for the paper's d = 128, g = 1.
        """
        matrices = (self.output, *(info for info in self.makers if len(info.shape) > 1))
        return sum(info.n_elements for info in matrices) // self.n_units


def attention_parts(weights: Weights) -> tuple[Part, ...]:
    """Attention of each layer that has one; UsageError where queries, keys and values are fused."""
    model, named = weights.model, _named(weights, Role.ATTENTION)
    parts = list[Part]()
    for layer in range(model.n_layers):
        if (fused := weight_in(layer, QUERY_KEY_VALUE)) in named:
            raise UsageError(
                "heads cannot be told apart in a fused tensor", fused, "shrink it with --no-prune"
            )
        if key := named.get(weight_in(layer, KEY)):
            makers = _present(named, layer, QUERY, KEY, VALUE)
            groups = key.rows_per_matrix // model.attention.key_length
            parts.append(Part(layer, named[weight_in(layer, ATTENTION_OUTPUT)], makers, groups))
    return tuple(parts)


def feed_forward_parts(weights: Weights) -> tuple[Part, ...]:
    """The dense feed-forward network of each layer that has one."""
    named = _named(weights, Role.FEED_FORWARD)
    outputs = ((n, named.get(weight_in(n, FEED_FORWARD.down))) for n in range(weights.model.n_layers))
    return tuple(
        Part(layer, down, _present(named, layer, FEED_FORWARD.gate, FEED_FORWARD.up), down.row_length)
        for layer, down in outputs
        if down is not None
    )


def places(units: Indices, size: int) -> Indices:
    """The rows or inputs of units that have `size` each."""
    found: Indices = (units[:, None] * size + np.arange(size)).ravel()
    return found


def _named(weights: Weights, role: Role) -> dict[str, WeightInfo]:
    return {info.name: info for info in weights.tensors if info.role is role}


def _present(named: dict[str, WeightInfo], layer: int, *stems: str) -> tuple[WeightInfo, ...]:
    names = (f"{in_layer(layer, stem)}.{kind}" for stem in stems for kind in ("weight", "bias"))
    return tuple(named[name] for name in names if name in named)
