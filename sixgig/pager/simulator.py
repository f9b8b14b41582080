"""Replays a routing trace against a cache of a given size, without a model.

A visit's experts are all needed at once, so all are pinned while it runs. Where they do not fit together
the visit is served in groups that do: the resident ones first, then the others in order of first use.
Counts demand reads only; speculative reads are not simulated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import BudgetError
from sixgig.pager.policies import POLICIES, Policy, PolicyMaker
from sixgig.pager.trace import Shape, Trace, TraceFile, Visit
from sixgig.units import format_bytes


@dataclass(frozen=True)
class Replay:
    """Counts of one replay; a hit or miss is one expert of one visit."""

    hits: int
    misses: int
    evictions: int
    bytes_read: int
    peak_bytes: int

    @property
    def hit_rate(self) -> float:
        """Hits over all uses; 0 for a trace without visits."""
        return self.hits / max(1, self.hits + self.misses)


@dataclass
class Cache:
    """Residency under a byte budget; the policy says who leaves."""

    shape: Shape
    policy: Policy
    budget_bytes: int
    sizes: dict[int, int] = field(default_factory=dict)  # resident expert -> bytes
    used_bytes: int = 0
    peak_bytes: int = 0
    evictions: int = 0
    bytes_read: int = 0

    def serve(self, experts: Sequence[int], visit: int) -> int:
        """Makes a visit's experts resident, group by group. Returns how many already were."""
        hits = [expert for expert in experts if expert in self.sizes]
        misses = [expert for expert in experts if expert not in self.sizes]
        for expert in experts:
            self.policy.touch(expert, visit)
        for group in self._groups(hits + misses):
            for expert in group:
                self._make_resident(expert, visit, group)
        return len(hits)

    def _groups(self, experts: Sequence[int]) -> Iterator[set[int]]:
        """Splits experts, in order, into groups that fit the budget together."""
        group: set[int] = set()
        room = self.budget_bytes
        for expert in experts:
            size = self.shape.size_of(expert)
            if size > room and group:
                yield group
                group, room = set(), self.budget_bytes
            group.add(expert)
            room -= size
        yield group

    def _make_resident(self, expert: int, visit: int, pinned: Container[int]) -> None:
        if expert in self.sizes:
            return
        size = self.shape.size_of(expert)
        while self.used_bytes + size > self.budget_bytes:
            self._evict(self.policy.victim(pinned))
        self.sizes[expert] = size
        self.used_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.used_bytes)
        self.bytes_read += size
        self.policy.admit(expert, visit)

    def _evict(self, expert: int) -> None:
        self.used_bytes -= self.sizes.pop(expert)
        self.evictions += 1
        self.policy.forget(expert)


def replay(trace: Trace | TraceFile, policy: Policy, budget_bytes: int) -> Replay:
    """Replays every visit. Raises BudgetError when one expert alone is over the budget."""
    largest = max(trace.shape.expert_bytes)
    if budget_bytes < largest:
        raise BudgetError(
            "the expert cache cannot hold one expert",
            f"{format_bytes(budget_bytes)} given, {format_bytes(largest)} needed",
            f"give at least {largest} bytes",
        )
    cache = Cache(trace.shape, policy, budget_bytes)
    hits = uses = 0
    for visit in trace:
        experts = numbered(visit, trace.shape)
        hits += cache.serve(experts, visit.number)
        uses += len(experts)
    return Replay(hits, uses - hits, cache.evictions, cache.bytes_read, cache.peak_bytes)


def numbered(visit: Visit, shape: Shape) -> list[int]:
    """A visit's experts by number, `layer * n_experts + id`."""
    return [visit.layer * shape.n_experts + expert for expert in visit.experts]


class Belady:
    """Belady's optimum: evicts the expert whose next use is farthest. Needs the trace beforehand.

    No policy hits more when all experts have one size; with unequal sizes it is a yardstick, not a bound.
    """

    def __init__(self, trace: Trace | TraceFile) -> None:
        self._uses: dict[int, deque[int]] = {}
        self._resident: dict[int, int] = {}  # expert -> index of its next use
        self._heap: list[tuple[int, int]] = []  # (-next use, expert), stale entries skipped
        for index, visit in enumerate(trace):
            for expert in numbered(visit, trace.shape):
                self._uses.setdefault(expert, deque()).append(index)

    def touch(self, expert: int, visit: int) -> None:
        """One of its uses is past."""
        self._uses[expert].popleft()
        if expert in self._resident:
            self.admit(expert, visit)

    def admit(self, expert: int, visit: int) -> None:
        """Files the expert under its next use."""
        uses = self._uses[expert]
        self._resident[expert] = uses[0] if uses else 1 << 62
        heappush(self._heap, (-self._resident[expert], expert))

    def victim(self, pinned: Container[int]) -> int:
        """The one used again last, or never."""
        kept: list[tuple[int, int]] = []
        while self._heap:
            entry = heappop(self._heap)
            if self._resident.get(entry[1]) != -entry[0]:
                continue
            kept.append(entry)
            if entry[1] not in pinned:
                break
        for entry in kept:
            heappush(self._heap, entry)
        if not kept or kept[-1][1] in pinned:
            raise LookupError("every resident expert is pinned")
        return kept[-1][1]

    def forget(self, expert: int) -> None:
        """Its entries in the heap are stale from here on."""
        del self._resident[expert]


def compare(
    trace: Trace | TraceFile, budgets_bytes: Iterable[int], policies: Mapping[str, PolicyMaker] = POLICIES
) -> dict[str, list[Replay]]:
    """One row per policy, one replay per budget; the last row, "belady", is the bound."""
    budgets = list(budgets_bytes)
    table = {
        name: [replay(trace, make(trace.shape), budget) for budget in budgets]
        for name, make in policies.items()
    }
    table["belady"] = [replay(trace, Belady(trace), budget) for budget in budgets]
    return table


@dataclass(frozen=True)
class ReuseDistances:
    """LRU stack distances, counted per layer: how many other experts of the layer were used since.

    counts [n_layers, n_experts]: uses at each distance; first_uses [n_layers]: uses with no use before.
    """

    counts: NDArray[np.int64]
    first_uses: NDArray[np.int64]

    def hit_rate(self, experts_per_layer: int) -> float:
        """What LRU would hit with this many experts resident in every layer (each visit must fit)."""
        uses = int(self.counts.sum() + self.first_uses.sum())
        return float(self.counts[:, :experts_per_layer].sum()) / max(1, uses)


def reuse_distances(trace: Trace | TraceFile) -> ReuseDistances:
    """Distances of every use, measured at the beginning of its visit."""
    shape = trace.shape
    counts = np.zeros((shape.n_layers, shape.n_experts), dtype=np.int64)
    first_uses = np.zeros(shape.n_layers, dtype=np.int64)
    stacks: list[list[int]] = [[] for _ in range(shape.n_layers)]  # most recent first
    for visit in trace:
        stack = stacks[visit.layer]
        for expert in visit.experts:
            if expert in stack:
                counts[visit.layer, stack.index(expert)] += 1
            else:
                first_uses[visit.layer] += 1
        used = set(visit.experts)
        stacks[visit.layer] = [*reversed(visit.experts), *(e for e in stack if e not in used)]
    return ReuseDistances(counts, first_uses)
