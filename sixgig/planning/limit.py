"""The physical limit of a machine on a model: bytes that must move, over the bandwidths they move at.

Counts weights only: no KV cache, no arithmetic. Reads from memory and disk are taken one after the other, so
an engine that overlaps them may pass it; a prompt's evaluation is mostly arithmetic and stays far below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Traffic:
    """Bytes of weights one piece of work needs: dense ones, those of the experts used, and how many of the
    latter had to come from disk."""

    dense_bytes: float
    expert_bytes: float
    disk_bytes: float = 0.0

    @property
    def memory_bytes(self) -> float:
        """Bytes read from memory; never negative, even where more came from disk than was used."""
        return self.dense_bytes + max(0.0, self.expert_bytes - self.disk_bytes)


@dataclass(frozen=True)
class Limit:
    """Bandwidths in bytes per second; disk None when it was not measured."""

    memory_bytes_per_s: float
    disk_bytes_per_s: float | None = None

    def seconds(self, traffic: Traffic) -> float:
        """The least time `traffic` takes; infinite where bytes must come over no bandwidth."""
        from_memory = _over(traffic.memory_bytes, self.memory_bytes_per_s)
        return from_memory + _over(traffic.disk_bytes, self.disk_bytes_per_s or 0.0)


def _over(size_bytes: float, bytes_per_s: float) -> float:
    if size_bytes <= 0:
        return 0.0
    return size_bytes / bytes_per_s if bytes_per_s > 0 else math.inf


def distinct_experts(n_experts: int, n_used: int, n_tokens: int) -> float:
    """Experts of a layer that `n_tokens` tokens use together, expected, if they chose evenly and alone.

    Real routers repeat themselves: they use fewer.
    """
    if n_experts <= 0:
        return 0.0
    return n_experts * (1.0 - (1.0 - n_used / n_experts) ** n_tokens)
