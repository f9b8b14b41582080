"""Caps on what may be spent upstream. Pure: the sums are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import tzinfo
from typing import Literal

from sixgig.ledger.days import day_start, local_day, next_day, next_month
from sixgig.ledger.entry import require_storable


@dataclass(frozen=True)
class Reservation:
    """An amount, in millionths, set aside before a request goes upstream. Raises ValueError as Entry does."""

    id: str
    at: float
    upstream: str
    key: str
    model: str
    micros: int

    def __post_init__(self) -> None:
        require_storable(self, self.at)


@dataclass(frozen=True)
class Limits:
    """Millionths a day and a month; None: no cap. zone: whose days and months, None for the system's."""

    per_day_micros: int | None
    per_month_micros: int | None
    zone: tzinfo | None


@dataclass(frozen=True)
class Exceeded:
    """A cap that an amount would pass. ends_at: when the day or month is over, seconds since 1970."""

    period: Literal["day", "month"]
    limit_micros: int
    spent_micros: int
    asked_micros: int
    ends_at: float


def exceeded(limits: Limits, at: float, micros: int, spent: Callable[[float], int]) -> tuple[Exceeded, ...]:
    """The caps that `micros` more would pass at this moment. spent: the sum since a moment, no end to it."""
    return tuple(
        Exceeded(period, limit, already, micros, ends_at)
        for period, limit, starts_at, ends_at in _periods(limits, at)
        if (already := spent(starts_at)) + micros > limit
    )


def _periods(limits: Limits, at: float) -> Iterator[tuple[Literal["day", "month"], int, float, float]]:
    today, zone = local_day(at, limits.zone), limits.zone
    if limits.per_day_micros is not None:
        yield "day", limits.per_day_micros, day_start(today, zone), day_start(next_day(today), zone)
    if limits.per_month_micros is not None:
        first = today.replace(day=1)
        yield "month", limits.per_month_micros, day_start(first, zone), day_start(next_month(first), zone)
