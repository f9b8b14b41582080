"""The tensors of a dense layer that heads and feed-forward channels run through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sixgig.errors import UsageError
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
    shape, found = weights.model.attention, _by_layer(weights)
    parts = list[Part]()
    for layer, tensors in sorted(found.items()):
        if "attn_qkv.weight" in tensors and "ssm_out.weight" not in tensors:
            raise UsageError("heads cannot be told apart in a fused tensor", tensors["attn_qkv.weight"].name)
        if "attn_k.weight" in tensors:
            makers = _present(tensors, "attn_q", "attn_k", "attn_v")
            groups = tensors["attn_k.weight"].rows_per_matrix // shape.key_length
            parts.append(Part(layer, tensors["attn_output.weight"], makers, groups))
    return tuple(parts)


def feed_forward_parts(weights: Weights) -> tuple[Part, ...]:
    """The dense feed-forward network of each layer that has one."""
    found = _by_layer(weights)
    return tuple(
        Part(layer, tensors["ffn_down.weight"], _present(tensors, "ffn_gate", "ffn_up"), width)
        for layer, tensors in sorted(found.items())
        if "ffn_down.weight" in tensors
        for width in (tensors["ffn_down.weight"].row_length,)
    )


def places(units: Indices, size: int) -> Indices:
    """The rows or inputs of units that have `size` each."""
    found: Indices = (units[:, None] * size + np.arange(size)).ravel()
    return found


def _by_layer(weights: Weights) -> dict[int, dict[str, WeightInfo]]:
    """Tensors of each layer by their names inside it."""
    found = dict[int, dict[str, WeightInfo]]()
    for info in weights.tensors:
        if info.layer is not None:
            found.setdefault(info.layer, {})[info.name.split(".", 2)[2]] = info
    return found


def _present(tensors: dict[str, WeightInfo], *stems: str) -> tuple[WeightInfo, ...]:
    names = (f"{stem}.{kind}" for stem in stems for kind in ("weight", "bias"))
    return tuple(tensors[name] for name in names if name in tensors)
