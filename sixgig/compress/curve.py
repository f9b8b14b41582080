"""Loss against size: files that were measured, each a point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """How a file came to be."""

    UNPRUNED = "unpruned"  # types chosen, every weight kept
    PRUNED = "pruned"  # types chosen for what a cut left
    PLAIN = "plain"  # one type for all, or two neighbours
    MIXTURE = "mixture"  # llama-quantize's
    ROUTED = "routed"  # one type for the experts, another for the rest


@dataclass(frozen=True)
class LossPoint:
    """One file. kld_mean: nats a token of divergence from the source, kld_lower to kld_upper its 95% interval
    (the value itself where none is known). label: which file of its kind."""

    kind: Kind
    label: str
    size_bytes: int
    kld_mean: float
    kld_lower: float
    kld_upper: float

    @staticmethod
    def of(row: Mapping[str, Any]) -> LossPoint:
        """From a row of a work folder."""
        value = row["kld_mean"]
        lower, upper = row.get("intervals", {}).get("kld_mean", (value, value))
        return LossPoint(Kind(row["kind"]), row["label"], row["size_bytes"], value, lower, upper)


def curve_of(rows: Iterable[Mapping[str, Any]]) -> tuple[LossPoint, ...]:
    """By kind and size."""
    points = map(LossPoint.of, rows)
    return tuple(sorted(points, key=lambda point: (list(Kind).index(point.kind), point.size_bytes)))
