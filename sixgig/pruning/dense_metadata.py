"""Metadata of a dense model that has lost heads or channels, under its own or its carrier's name."""

from __future__ import annotations

from collections.abc import Sequence

from sixgig.families import Role
from sixgig.modelfile import ModelFile
from sixgig.pruning.dense_tensors import Part
from sixgig.weights.cut import Indices


def metadata_of(
    model: ModelFile, carrier: str, parts: Sequence[Part], kept: Sequence[Indices]
) -> dict[str, object]:
    """What changes: the name if `carrier` is another, head counts and widths, and what followed from them.

    Numbers that are the same in every layer are written as one; a layer without a part keeps its own.
    """
    shape, widths = model.attention, list(model.hyperparameters.feed_forward_lengths)
    queries, keys = list(shape.n_heads), list(shape.n_kv_heads)
    for part, units in zip(parts, kept, strict=True):
        if part.output.role is Role.FEED_FORWARD:
            widths[part.layer] = len(units)
        else:
            queries[part.layer] = queries[part.layer] // keys[part.layer] * len(units)
            keys[part.layer] = len(units)
    changes = {} if carrier == model.architecture else _renamed(model, carrier)
    return changes | {
        f"{carrier}.attention.head_count": _short(queries),
        f"{carrier}.attention.head_count_kv": _short(keys),
        f"{carrier}.feed_forward_length": _short(widths),
        f"{carrier}.attention.key_length": shape.key_length,
        f"{carrier}.attention.value_length": shape.value_length,
    }


def _short(counts: list[int]) -> int | list[int]:
    """One number where the layers are alike."""
    return counts[0] if len(set(counts)) == 1 else counts


def _renamed(model: ModelFile, carrier: str) -> dict[str, object]:
    """The same values under the carrier's name, the old ones gone."""
    old, found = model.architecture, model.metadata
    keys = [key for key in found if key.startswith(f"{old}.")]
    values = {key: found.array(key) if found.count(key) else found.get(key) for key in keys}
    changes: dict[str, object] = {key: None for key in keys}
    changes |= {carrier + key.removeprefix(old): value for key, value in values.items()}
    return changes | {"general.architecture": carrier}
