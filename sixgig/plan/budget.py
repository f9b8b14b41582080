"""A memory budget as a contract: what fits, how, and the smallest budget that does.

The budget covers the whole process. Tiers are exact bytes, measured or declared by whoever allocates them;
nothing is estimated here. Covers resident memory of this process; does not cover memory of the GPU.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import Literal

from sixgig.errors import BudgetError
from sixgig.units import format_bytes

MIB = 1 << 20
STEP_BYTES = MIB  # budgets are suggested in whole MiB
CONTEXT_STEP = 256

Kind = Literal["anon", "file"]
Phase = Literal["always", "loading", "running"]
Mode = Literal["unpaged", "paged"]
MODES: tuple[Mode, ...] = ("unpaged", "paged")  # in order of preference


@dataclass(frozen=True)
class Tier:
    """One use of memory. kind: owned pages or pages of a mapped file. phase: when it is held."""

    name: str
    size_bytes: int
    kind: Kind = "anon"
    phase: Phase = "always"


@dataclass(frozen=True)
class Needs:
    """What one model at one context needs besides its routed experts.

    tiers: held in both modes (process, library, dense weights, KV cache, compute buffers).
    unpaged_tiers, paged_tiers: held in that mode only (a loader's staging, the readers' buffers).
    smallest_cache_bytes: the least expert cache that paging works with. grouping: held as well while the
    cache is smaller than whole_visit_bytes, so that a layer's experts may be computed in groups.
    kv_bytes_per_token: how much a context one token shorter saves.
    """

    tiers: tuple[Tier, ...]
    routed_bytes: int
    smallest_cache_bytes: int = 0
    unpaged_tiers: tuple[Tier, ...] = ()
    paged_tiers: tuple[Tier, ...] = ()
    context_tokens: int = 0
    kv_bytes_per_token: int = 0
    grouping: tuple[Tier, ...] = ()
    whole_visit_bytes: int = 0

    def with_tiers(self, more: tuple[Tier, ...]) -> Needs:
        """These needs and what else is held in both modes."""
        return replace(self, tiers=self.tiers + more)

    def in_mode(self, mode: Mode, experts_bytes: int) -> tuple[Tier, ...]:
        """All tiers of a mode, the experts last: all of them, or the cache."""
        if mode == "unpaged":
            experts = (Tier("routed experts", experts_bytes),) if experts_bytes else ()
            return (*self.tiers, *self.unpaged_tiers, *experts)
        grouping = self.grouping if experts_bytes < self.whole_visit_bytes else ()
        cache = Tier("expert cache", experts_bytes, phase="running")
        return (*self.tiers, *self.paged_tiers, *grouping, cache)


@dataclass(frozen=True)
class MemoryPlan:
    """How a model runs within a budget. predicted_peak_bytes + margin_bytes <= ram_budget_bytes always."""

    mode: Mode
    ram_budget_bytes: int
    tiers: tuple[Tier, ...]
    expert_cache_bytes: int
    routed_bytes: int
    predicted_peak_bytes: int
    margin_bytes: int

    def explain(self) -> str:
        """A line of summary, then one per tier."""
        head = (
            f"{self.mode}: {format_bytes(self.predicted_peak_bytes)} predicted peak, "
            f"{format_bytes(self.margin_bytes)} margin, {format_bytes(self.ram_budget_bytes)} budget"
        )
        return "\n".join([head, *(self._line(tier) for tier in self.tiers)])

    def to_json(self) -> dict[str, object]:
        """Plain values; sizes in bytes."""
        return {
            "mode": self.mode,
            "ram_budget_bytes": self.ram_budget_bytes,
            "predicted_peak_memory_bytes": self.predicted_peak_bytes,
            "margin_bytes": self.margin_bytes,
            "expert_cache_bytes": self.expert_cache_bytes,
            "routed_bytes": self.routed_bytes,
            "tiers": [vars(tier) for tier in self.tiers],
        }

    def _line(self, tier: Tier) -> str:
        notes = [tier.kind] + ([f"while {tier.phase}"] if tier.phase == "loading" else [])
        if tier.name == "expert cache" and self.routed_bytes:
            notes.append(f"{100 * tier.size_bytes / self.routed_bytes:.1f}% of the experts")
        return f"  {tier.name:<18} {format_bytes(tier.size_bytes):>12}  {', '.join(notes)}"


class Refusal(BudgetError):
    """Nothing fits; smallest_bytes is the budget that would."""

    def __init__(self, smallest_bytes: int, what: str, numbers: str, cure: str) -> None:
        super().__init__(what, numbers, cure)
        self.smallest_bytes = smallest_bytes


def default_budget(available_bytes: int, held_bytes: int = 0) -> int:
    """What this process may take without being asked to say: available memory, plus what it holds already,
    less 512 MiB or 5% for the rest of the system, the larger; an eighth where that would be more.
    """
    reachable = available_bytes + held_bytes
    return reachable - min(max(512 * MIB, reachable // 20), reachable // 8)


def margin_for(ram_budget_bytes: int) -> int:
    """Kept free for what no tier counts (fragmentation, caches of the interpreter): 2%, 32 to 256 MiB."""
    return min(max(32 * MIB, ram_budget_bytes // 50), 256 * MIB)


def plan_memory(needs: Needs, ram_budget_bytes: int, modes: tuple[Mode, ...] = MODES) -> MemoryPlan:
    """Unpaged when everything fits, else paged with all that is left as expert cache; only in `modes`.

    Raises Refusal with the smallest budget that works when neither does.
    """
    room = ram_budget_bytes - margin_for(ram_budget_bytes)
    mode = next((mode for mode in _possible(needs, modes) if _least(needs, mode) <= room), None)
    if mode is None:
        raise _refusal(needs, ram_budget_bytes, modes)
    experts = needs.routed_bytes if mode == "unpaged" else _cache_bytes(needs, room)
    return _plan(needs, mode, experts, ram_budget_bytes)


def smallest_budget(needs: Needs, modes: tuple[Mode, ...] = MODES) -> int:
    """The smallest budget, in whole MiB, that plan_memory accepts."""
    peak = min(_least(needs, mode) for mode in _possible(needs, modes))
    budget = peak
    while budget - margin_for(budget) < peak:
        budget = peak + margin_for(budget)
    return -(-budget // STEP_BYTES) * STEP_BYTES


def _possible(needs: Needs, modes: tuple[Mode, ...]) -> tuple[Mode, ...]:
    """The allowed modes in order of preference; without routed experts there is nothing to page."""
    return tuple(mode for mode in MODES if mode in modes) if needs.routed_bytes else ("unpaged",)


def _least(needs: Needs, mode: Mode) -> int:
    """The smallest peak of a mode."""
    experts = needs.routed_bytes if mode == "unpaged" else needs.smallest_cache_bytes
    return _peak(needs.in_mode(mode, experts))


def _peak(tiers: tuple[Tier, ...], *phases: Phase) -> int:
    """Most bytes held at once in any of the phases, by default both."""
    return max(
        sum(tier.size_bytes for tier in tiers if tier.phase in ("always", phase))
        for phase in phases or ("loading", "running")
    )


def _cache_bytes(needs: Needs, room: int) -> int:
    """The expert cache that fills the room; with grouping only where it is too small for a whole visit."""
    grouped = room - _peak(needs.in_mode("paged", 0), "running")
    ungrouped = grouped + sum(tier.size_bytes for tier in needs.grouping)
    whole = min(ungrouped, needs.routed_bytes)
    return whole if whole >= needs.whole_visit_bytes else min(grouped, needs.routed_bytes)


def _plan(needs: Needs, mode: Mode, experts_bytes: int, ram_budget_bytes: int) -> MemoryPlan:
    tiers = needs.in_mode(mode, experts_bytes)
    return MemoryPlan(
        mode=mode,
        ram_budget_bytes=ram_budget_bytes,
        tiers=tiers,
        expert_cache_bytes=experts_bytes if mode == "paged" else 0,
        routed_bytes=needs.routed_bytes,
        predicted_peak_bytes=_peak(tiers),
        margin_bytes=margin_for(ram_budget_bytes),
    )


def _refusal(needs: Needs, ram_budget_bytes: int, modes: tuple[Mode, ...]) -> Refusal:
    smallest = smallest_budget(needs, modes)
    context = _context_that_fits(needs, ram_budget_bytes, modes)
    cures = [f"--ram {smallest // STEP_BYTES}M"] + ([f"--context {context}"] if context else [])
    parts = sorted(needs.tiers + needs.paged_tiers, key=lambda tier: -tier.size_bytes)[:3]
    shares = ", ".join(f"{tier.name} {format_bytes(tier.size_bytes)}" for tier in parts)
    return Refusal(
        smallest,
        f"the model does not fit in {format_bytes(ram_budget_bytes)} of memory",
        f"{format_bytes(smallest)} needed ({shares})",
        f"try {' or '.join(cures)}",
    )


def _context_that_fits(needs: Needs, ram_budget_bytes: int, modes: tuple[Mode, ...]) -> int:
    """The longest shorter context that this budget serves, in steps of 256 tokens; 0 where none does."""
    if not needs.kv_bytes_per_token:
        return 0
    steps = range((needs.context_tokens - 1) // CONTEXT_STEP)  # of what is left, from the longest

    def fits(step: int) -> bool:
        saved = (needs.context_tokens - _left(needs, step)) * needs.kv_bytes_per_token
        return smallest_budget(_saving(needs, saved), modes) <= ram_budget_bytes

    found = bisect_left(steps, True, key=fits)
    return _left(needs, found) if found < len(steps) else 0


def _left(needs: Needs, step: int) -> int:
    """The context that many steps shorter than the longest shorter one."""
    return ((needs.context_tokens - 1) // CONTEXT_STEP - step) * CONTEXT_STEP


def _saving(needs: Needs, saved_bytes: int) -> Needs:
    """The same needs with that much less held while running."""
    return replace(needs, tiers=(*needs.tiers, Tier("saved", -saved_bytes, phase="running")))
