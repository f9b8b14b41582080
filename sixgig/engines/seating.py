"""Who may stay in memory when one more model is wanted. Pure.

Models sit in one room of bytes, each with a grant that its process keeps to. Those without a request may be
sent away, the least recently used first, those that are to stay for ever last; one with requests never is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Resident:
    """A loaded model: its grant, whether it answers someone now, and when it last did (monotonic).

    pinned: it is to stay for ever, if there is room.
    """

    name: str
    granted_bytes: int
    busy: bool
    used_at_s: float
    pinned: bool = False


@dataclass(frozen=True)
class Appetite:
    """What a model may be granted: `least` works, others leave for it up to `enough`, `most` is of use."""

    least_bytes: int
    enough_bytes: int
    most_bytes: int

    @classmethod
    def of(cls, whole_bytes: int, paged_bytes: int | None, room_bytes: int) -> Appetite:
        """whole_bytes: the budget to load everything; paged_bytes: the smallest with paging, None without.

        A model that must page is content with half the room that others may want as well.
        """
        if whole_bytes <= room_bytes or paged_bytes is None or paged_bytes >= whole_bytes:
            return cls(min(whole_bytes, paged_bytes or whole_bytes), whole_bytes, whole_bytes)
        return cls(
            paged_bytes, max(paged_bytes, (paged_bytes + room_bytes) // 2), max(paged_bytes, room_bytes)
        )


@dataclass(frozen=True)
class Seat:
    """Load with this grant, once these have left."""

    granted_bytes: int
    leaving: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wait:
    """Nothing but requests that end: these models are busy, and in the way."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class NoRoom:
    """Not even with everyone else gone."""

    needed_bytes: int
    room_bytes: int


def seat(room_bytes: int, residents: Sequence[Resident], appetite: Appetite) -> Seat | Wait | NoRoom:
    """Where a newcomer goes. The grants of all who stay and its own never pass the room."""
    if appetite.least_bytes > room_bytes:
        return NoRoom(appetite.least_bytes, room_bytes)
    free = room_bytes - sum(resident.granted_bytes for resident in residents)
    idle = sorted((r for r in residents if not r.busy), key=lambda r: (r.pinned, r.used_at_s))
    leaving: list[Resident] = []
    for resident in idle:
        if free >= appetite.enough_bytes:
            break
        leaving.append(resident)
        free += resident.granted_bytes
    if free < appetite.least_bytes:
        return Wait(tuple(resident.name for resident in residents if resident.busy))
    leaving, free = _spared(leaving, free, min(free, appetite.enough_bytes))
    return Seat(min(free, appetite.most_bytes), tuple(resident.name for resident in leaving))


def _spared(leaving: list[Resident], free: int, needed: int) -> tuple[list[Resident], int]:
    """Those who need not leave after all, the most recently used first, may stay."""
    gone: list[Resident] = []
    for resident in reversed(leaving):
        if free - resident.granted_bytes >= needed:
            free -= resident.granted_bytes
        else:
            gone.append(resident)
    return gone[::-1], free
