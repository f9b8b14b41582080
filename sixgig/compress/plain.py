"""Plain files to compare with: one storage type for all matrices, or two neighbours mixed to a size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sixgig.compress.choose import Recipe, stored_bytes
from sixgig.compress.types import bits, can_be_quantised, candidates
from sixgig.modelfile import TYPE_BY_NAME, GgmlType
from sixgig.weights.stored import Weights

# From the most bits to the fewest.
PLAIN = (
    "Q8_0",
    "Q6_K",
    "Q5_K",
    "Q4_K",
    "IQ4_XS",
    "Q3_K",
    "IQ3_S",
    "IQ3_XXS",
    "Q2_K",
    "IQ2_S",
    "IQ2_XS",
    "IQ2_XXS",
)
Types = Mapping[str, GgmlType]


@dataclass(frozen=True)
class PlainFile:
    """label: in words which types."""

    label: str
    recipe: Recipe


def plain_file(weights: Weights, size_bytes: int, header_bytes: int) -> PlainFile | None:
    """The plain file nearest below a size: the largest type that fits everywhere, and the next larger one in
    tensors that fit besides, those that grow most first. None where even the smallest type is too large.

    The recipe's size counts the header.
    """
    above, above_name = {info.name: info.type for info in weights.tensors}, "as in the source"
    for name in PLAIN:
        below = plain_types(weights, name)
        if (size := header_bytes + _size(weights, below)) <= size_bytes:
            return _mixed(weights, (name, below), (above_name, above), size, size_bytes)
        above, above_name = below, name
    return None


def plain_types(weights: Weights, name: str) -> dict[str, GgmlType]:
    """One type for all matrices; the next larger that fits where rows are no whole number of blocks."""
    types = {}
    for info in weights.tensors:
        wanted = [kind for kind in candidates(info) if bits(kind) >= bits(TYPE_BY_NAME[name])]
        exact = [kind for kind in wanted if kind.name == name]
        types[info.name] = ((exact or wanted)[:1] or [info.type])[0] if can_be_quantised(info) else info.type
    return types


def _mixed(
    weights: Weights, lower: tuple[str, Types], upper: tuple[str, Types], size: int, most: int
) -> PlainFile:
    """The lower types, of `size` bytes, with the upper ones where they fit."""
    (name, below), (above_name, above) = lower, upper
    types, changed = dict(below), 0
    matrices = sum(info.n_elements for info in weights.tensors if can_be_quantised(info))
    grown = {
        info.name: stored_bytes(info, above[info.name]) - stored_bytes(info, below[info.name])
        for info in weights.tensors
    }
    for info in sorted(weights.tensors, key=lambda info: -grown[info.name]):  # the small ones fill up
        if 0 < grown[info.name] <= most - size:
            types[info.name] = above[info.name]
            size, changed = size + grown[info.name], changed + info.n_elements
    share = f", {changed / matrices:.0%} of the weights {above_name}" if changed else ""
    recipe = Recipe({key: kind.name for key, kind in types.items()}, size, 0.0)
    return PlainFile(f"all {name}{share}", recipe)


def _size(weights: Weights, types: Types) -> int:
    return sum(stored_bytes(info, types[info.name]) for info in weights.tensors)
