"""A memory budget as a contract: what fits, how, and the smallest budget that does.

A budget of main memory covers the whole resident process; one of a GPU what this process holds there. What is
needed is said by whoever allocates it, or estimated (needs.py); here it is only added up and held against
the budgets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sixgig.errors import BudgetError
from sixgig.planning.uses import Need, Tier, Use, peak_bytes
from sixgig.units import format_bytes

MIB = 1 << 20
CONTEXT_STEP = 256
# Two processes that do the same differ by less, as measured (LOG.md).
PROCESS_SPREAD_BYTES = 8 << 20

Mode = Literal["unpaged", "paged"]
BOUNDED = (Tier.VRAM, Tier.RAM)  # tiers with a budget, in the order in which they are checked


@dataclass(frozen=True)
class Budgets:
    """Bytes of main memory for the whole process, and of one GPU's memory (0: none)."""

    ram_bytes: int
    vram_bytes: int = 0

    def of(self, tier: Tier) -> int:
        """That of a tier which has one."""
        return {Tier.RAM: self.ram_bytes, Tier.VRAM: self.vram_bytes}[tier]

    def room(self, tier: Tier) -> int:
        """What needs may take of it."""
        return self.of(tier) - margin_for(self.of(tier), tier)


@dataclass(frozen=True)
class PagedExperts:
    """Routed experts that a cache in main memory and the disk share.

    smallest_cache_bytes: the least that paging works with. grouping: held as well while the cache is smaller
    than whole_visit_bytes, so that a layer's experts may be computed in groups.
    """

    size_bytes: int
    smallest_cache_bytes: int = 0
    grouping: tuple[Need, ...] = ()
    whole_visit_bytes: int = 0


@dataclass(frozen=True)
class Needs:
    """What one way to hold a model takes, at one context.

    held: all but the experts that are paged. kv_bytes_per_token: how much main memory a context one token
    shorter saves. spread_bytes: how much more of it may turn out to be needed, as its source is known to err.
    """

    held: tuple[Need, ...]
    paged: PagedExperts | None = None
    context_tokens: int = 0
    kv_bytes_per_token: int = 0
    spread_bytes: int = 0

    def with_cache(self, cache_bytes: int) -> tuple[Need, ...]:
        """Everything with an expert cache of that size, the experts last."""
        if self.paged is None:
            return self.held
        grouping = self.paged.grouping if cache_bytes < self.paged.whole_visit_bytes else ()
        return (
            *self.held,
            *grouping,
            Need(Use.EXPERT_CACHE, cache_bytes, phase="running"),
            Need(Use.ROUTED_EXPERTS, self.paged.size_bytes - cache_bytes, tier=Tier.DISK),
        )

    def least_bytes(self, tier: Tier, context: int | None = None) -> int:
        """The smallest peak there, also with another context."""
        saved = 0 if context is None else (self.context_tokens - context) * self.kv_bytes_per_token
        needs = self.with_cache(self.paged.smallest_cache_bytes if self.paged else 0)
        return peak_bytes((*needs, Need(Use.KV_CACHE, -saved, phase="running")), tier)

    def largest_cache(self, room_bytes: int) -> int:
        """The expert cache that fills the room; with grouping where that is too small for a whole visit."""
        if self.paged is None:
            return 0
        left, most = room_bytes - peak_bytes(self.held, Tier.RAM, "running"), self.paged.size_bytes
        if min(left, most) >= self.paged.whole_visit_bytes:
            return min(left, most)
        return min(left - sum(need.size_bytes for need in self.paged.grouping), most)


@dataclass(frozen=True)
class MemoryPlan:
    """What is held where. In each tier that has a budget its peak and its margin together keep to that."""

    mode: Mode
    budgets: Budgets
    needs: tuple[Need, ...]

    def at(self, tier: Tier) -> tuple[Need, ...]:
        """What lies there."""
        return tuple(need for need in self.needs if need.tier is tier)

    def held_bytes(self, *uses: Use, tier: Tier = Tier.RAM) -> int:
        """Bytes of those uses there."""
        return sum(need.size_bytes for need in self.at(tier) if need.use in uses)

    @property
    def ram_budget_bytes(self) -> int:
        """That of main memory."""
        return self.budgets.ram_bytes

    @property
    def margin_bytes(self) -> int:
        """Main memory kept free for what no need counts."""
        return margin_for(self.budgets.ram_bytes)

    @property
    def predicted_peak_bytes(self) -> int:
        """The most main memory held at once."""
        return peak_bytes(self.needs, Tier.RAM)

    @property
    def vram_bytes(self) -> int:
        """The most of a GPU's memory."""
        return peak_bytes(self.needs, Tier.VRAM)

    @property
    def expert_cache_bytes(self) -> int:
        """Of paged experts as many as main memory holds."""
        return self.held_bytes(Use.EXPERT_CACHE)

    @property
    def disk_bytes(self) -> int:
        """Routed experts that neither memory holds at once."""
        return sum(need.size_bytes for need in self.at(Tier.DISK))

    @property
    def routed_bytes(self) -> int:
        """All experts that are paged, each in whole pages."""
        return self.expert_cache_bytes + self.disk_bytes

    def explain(self) -> str:
        """A line of summary, then one per use of main memory."""
        head = (
            f"{self.mode}: {format_bytes(self.predicted_peak_bytes)} predicted peak, "
            f"{format_bytes(self.margin_bytes)} margin, {format_bytes(self.ram_budget_bytes)} budget"
        )
        return "\n".join([head, *(self._line(need) for need in self.at(Tier.RAM))])

    def to_json(self) -> dict[str, Any]:
        """Plain values; sizes in bytes."""
        return {
            "mode": self.mode,
            "ram_budget_bytes": self.ram_budget_bytes,
            "predicted_peak_memory_bytes": self.predicted_peak_bytes,
            "margin_bytes": self.margin_bytes,
            "expert_cache_bytes": self.expert_cache_bytes,
            "routed_bytes": self.routed_bytes,
            "tiers": [need.to_json() for need in self.at(Tier.RAM)],
        }

    def _line(self, need: Need) -> str:
        notes = [need.kind] + ([f"while {need.phase}"] if need.phase == "loading" else [])
        if need.use is Use.EXPERT_CACHE and self.routed_bytes:
            notes.append(f"{100 * need.size_bytes / self.routed_bytes:.1f}% of the experts")
        return f"  {need.use.label:<18} {format_bytes(need.size_bytes):>12}  {', '.join(notes)}"


class Refusal(BudgetError):
    """Nothing fits. smallest_bytes: the budget of `tier` that would do.

    uses: the largest needs there, in words; context: a shorter one that fits the budget as it is, or None.
    """

    smallest_bytes: int

    def __init__(
        self,
        smallest_bytes: int,
        what: str,
        numbers: str,
        cure: str,
        tier: Tier = Tier.RAM,
        uses: str = "",
        context: int | None = None,
    ) -> None:
        super().__init__(what, numbers, cure)
        self.smallest_bytes, self.tier, self.uses, self.context = smallest_bytes, tier, uses, context


@dataclass(frozen=True)
class Job:
    """How a refusal is worded: what does not fit, and the cure for each tier, {} being megabytes."""

    what: str
    more_ram: str = "try --ram {}M"
    more_vram: str = "raise --vram to {}M, or lower --context"


RUNNING = Job("the model does not fit")
SHRINKING = Job("to shrink this model does not fit")
TUNING = Job(
    "this model cannot be tuned",
    "try --ram {}M, fewer tokens a step with --batch, or a lower --rank",
    "try --vram {}M, or a smaller --batch",
)


def default_budget(available_bytes: int, held_bytes: int = 0) -> int:
    """What this process may take without being asked to say: available memory, plus what it holds already,
    less 512 MiB or 5% for the rest of the system, the larger; an eighth where that would be more.
    """
    reachable = available_bytes + held_bytes
    return reachable - min(max(512 * MIB, reachable // 20), reachable // 8)


def margin_for(budget_bytes: int, tier: Tier = Tier.RAM) -> int:
    """Kept free for what no need counts (fragmentation, caches of the interpreter): 2%, 32 to 256 MiB.

    None of a GPU's: what its driver takes is a need.
    """
    return min(max(32 * MIB, budget_bytes // 50), 256 * MIB) if tier is Tier.RAM else 0


def smallest_budget(needed_bytes: int, tier: Tier = Tier.RAM) -> int:
    """The smallest budget, in whole MiB, that leaves so much beside its margin."""
    budget = needed_bytes
    while budget - margin_for(budget, tier) < needed_bytes:
        budget = needed_bytes + margin_for(budget, tier)
    return -(-budget // MIB) * MIB


def fit(ways: Iterable[Needs], budgets: Budgets, job: Job = RUNNING) -> MemoryPlan:
    """The first of several ways to hold a model that fits; a cache of experts takes all memory that is left.

    Ways behind the one that fits are not asked for. Raises Refusal where none does, of the way that needs
    least: of main memory, unless a GPU's is too small for all.
    """
    tried = list[Needs]()
    for needs in ways:
        tried.append(needs)
        if all(needs.least_bytes(tier) <= budgets.room(tier) for tier in BOUNDED):
            cache = needs.largest_cache(budgets.room(Tier.RAM))
            return MemoryPlan("paged" if needs.paged else "unpaged", budgets, needs.with_cache(cache))
    raise _refusal(tried, budgets, job)


def _refusal(ways: Sequence[Needs], budgets: Budgets, job: Job) -> Refusal:
    """The budget it names holds what the needs may turn out to be."""
    within = [needs for needs in ways if needs.least_bytes(Tier.VRAM) <= budgets.room(Tier.VRAM)]
    tier, more = (Tier.RAM, job.more_ram) if within else (Tier.VRAM, job.more_vram)

    def wanted(needs: Needs, context: int | None = None) -> int:
        return needs.least_bytes(tier, context) + (needs.spread_bytes if tier is Tier.RAM else 0)

    ways = within or ways
    least = min(ways, key=wanted)
    smallest = smallest_budget(wanted(least), tier)
    context = None
    if tier is Tier.RAM and least.kv_bytes_per_token:
        room = budgets.room(tier)
        context = _longest_context(least.context_tokens, lambda n: min(wanted(w, n) for w in ways) <= room)
    cure = more.format(smallest // MIB) + (f" or --context {context}" if context else "")
    largest = sorted((n for n in least.held if n.tier is tier), key=lambda n: -n.size_bytes)[:3]
    uses = ", ".join(f"{need.use.label} {format_bytes(need.size_bytes)}" for need in largest)
    memory = "memory" if tier is Tier.RAM else "the GPU's memory"
    what = f"{job.what} in {format_bytes(budgets.of(tier))} of {memory}"
    return Refusal(smallest, what, f"{format_bytes(smallest)} needed ({uses})", cure, tier, uses, context)


def _longest_context(context: int, fits: Callable[[int], bool]) -> int | None:
    """The longest shorter context that fits, in steps of 256 tokens; None where none does."""
    shorter = range((context - 1) // CONTEXT_STEP * CONTEXT_STEP, 0, -CONTEXT_STEP)
    found = bisect_left(shorter, True, key=fits)
    return shorter[found] if found < len(shorter) else None
