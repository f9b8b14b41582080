"""Memory that reading may take, asked for before it is taken."""

from __future__ import annotations

from sixgig.errors import BudgetError
from sixgig.hardware.memory import give_back, process_memory
from sixgig.units import format_bytes

MIB = 1 << 20
LOOK_BYTES = MIB  # so much may be asked for before memory is looked at again
SPARE_BYTES = 32 * MIB  # of a budget that is named: no two runs take quite the same


class Room:
    """allowed_bytes: of this process, all kinds together; None where there is no bound."""

    def __init__(self, allowed_bytes: int | None = None) -> None:
        self._allowed, self._unseen = allowed_bytes, 0

    def require(self, place: str, size_bytes: int, needed_bytes: int) -> None:
        """BudgetError where `needed_bytes` more, for `size_bytes` of text at `place`, would be too much."""
        self._unseen += needed_bytes
        if self._allowed is None or self._unseen < LOOK_BYTES:
            return
        self._unseen = 0
        if process_memory().resident_bytes + needed_bytes <= self._allowed:
            return
        give_back()
        if (held := process_memory().resident_bytes) + needed_bytes > self._allowed:
            numbers = (
                f"{format_bytes(size_bytes)} of text there may take {format_bytes(needed_bytes)} beside "
                f"{format_bytes(held)} held, {format_bytes(self._allowed)} allowed"
            )
            cure = f"divide it, or try --ram {-(-(held + needed_bytes + SPARE_BYTES) // MIB)}M"
            raise BudgetError(f"{place}: reading it takes too much memory", numbers, cure)


BOUNDLESS = Room()
