"""How much memory a run may plan with: what was asked for, or what is free, under every limit that holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sixgig.errors import BudgetError
from sixgig.hardware import MachineMemory, MemoryLimit
from sixgig.planning.budget import MIB, Refusal, default_budget
from sixgig.planning.uses import Tier
from sixgig.units import format_bytes


@dataclass(frozen=True)
class Allowance:
    """ram_bytes: the budget. limit: what made it smaller than was asked for, or than what is free; else None.

    remark: what whoever asked should know, "" for nothing.
    """

    ram_bytes: int
    limit: MemoryLimit | None = None
    remark: str = ""

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """A refusal that the block raises says the limit behind it, and which one would do."""
        try:
            yield
        except BudgetError as error:
            if self.limit is None or (isinstance(error, Refusal) and error.tier is not Tier.RAM):
                raise
            numbers = f"{error.numbers}; {self.limit.name} is {format_bytes(self.limit.limit_bytes)}"
            if not isinstance(error, Refusal):
                raise BudgetError(error.what, numbers, error.cure) from error
            needed = self.limit.for_budget(error.smallest_bytes)
            cure = f"raise that to {-(-needed // MIB)}M; {error.cure}"
            more = error.tier, error.uses, error.context
            raise Refusal(error.smallest_bytes, error.what, numbers, cure, *more) from error


def allowance(
    asked_bytes: int | None, memory: MachineMemory, limit: MemoryLimit, held_bytes: int = 0
) -> Allowance:
    """asked_bytes: None for what is free, less the system's share. held_bytes: by this process already."""
    free = memory.available_bytes + held_bytes
    if asked_bytes is None:
        bound = limit if limit.limit_bytes < memory.ram_bytes else None
        return Allowance(max(0, min(default_budget(free), limit.reachable_bytes)), bound)
    if asked_bytes > limit.reachable_bytes:
        allowed = max(0, limit.reachable_bytes)
        remark = (
            f"--ram of {format_bytes(asked_bytes)}: {limit.name} is {format_bytes(limit.limit_bytes)}; "
            f"planning with {format_bytes(allowed)}, as --ram {allowed // MIB}M would"
        )
        return Allowance(allowed, limit, remark)
    remark = f"--ram of {format_bytes(asked_bytes)}: only {format_bytes(free)} are free now"
    return Allowance(asked_bytes, None, remark if asked_bytes > free else "")
