"""How many uses of experts a cache serves, by the share of them that it holds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class HitCurve:
    """points: (share of the experts' bytes held, share of uses found), (0, 0) to (1, 1), never falling."""

    points: tuple[tuple[float, float], ...]
    source: str

    @classmethod
    def of(cls, points: Iterable[tuple[float, float]], source: str) -> HitCurve:
        """From measured points in any order; made to never fall, and to end in everything found."""
        highest, rising = 0.0, [(0.0, 0.0)]
        for share, rate in sorted(points):
            if 0 < share < 1:
                highest = max(highest, min(max(rate, 0.0), 1.0))
                rising.append((share, highest))
        return cls((*rising, (1.0, 1.0)), source)

    def at(self, share: float) -> float:
        """The rate at a share, linear between points."""
        if share >= 1:
            return 1.0
        share = max(share, 0.0)
        right = bisect_right(self.points, (share, 2.0))
        (x0, y0), (x1, y1) = self.points[right - 1], self.points[right]
        return y0 if x1 == x0 else y0 + (y1 - y0) * (share - x0) / (x1 - x0)


PUBLISHED = HitCurve.of(
    ((0.05, 0.20), (0.10, 0.35), (0.25, 0.60), (0.50, 0.80)),
    "a conservative curve, below what large routers are published to give",
)
