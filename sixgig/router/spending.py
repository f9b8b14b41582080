"""Money: amounts as the owner writes them, caps, and what was spent against them.

Amounts are in the owner's currency, sums in whole micro-units, millionths of it, so that they are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_MICROS = 10**6


def _exact(value: object) -> Decimal:
    """A float is taken as it is written: 0.1 is a tenth."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError('must be an amount such as 2.50 or "2.50"')
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise ValueError('must be an amount such as 2.50 or "2.50"') from None


# Twelve places and 10**9 keep every product exact and within SQLite's 64-bit integers.
Amount = Annotated[Decimal, BeforeValidator(_exact), Field(ge=0, le=10**9, decimal_places=12)]


@dataclass(frozen=True)
class Spent:
    """Micro-units of this day and this month, what is reserved for answers under way included."""

    day_micros: int
    month_micros: int


class Spending(BaseModel):
    """Hard caps in the owner's currency; None where there is none. `[spending]` of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    per_day: Amount | None = None
    per_month: Amount | None = None

    @property
    def capped(self) -> bool:
        """Is there any cap?"""
        return self.per_day is not None or self.per_month is not None

    @property
    def per_day_micros(self) -> int | None:
        """The day's cap in micro-units, rounded down."""
        return None if self.per_day is None else int(self.per_day * _MICROS)

    @property
    def per_month_micros(self) -> int | None:
        """The month's cap in micro-units, rounded down."""
        return None if self.per_month is None else int(self.per_month * _MICROS)

    def obstacle(self, spent: Spent, micros: int) -> str | None:
        """Why `micros` more would pass a cap, or None where it would not. What is free never does."""
        for name, cap_micros, used_micros in (
            ("per_day", self.per_day_micros, spent.day_micros),
            ("per_month", self.per_month_micros, spent.month_micros),
        ):
            if micros > 0 and cap_micros is not None and used_micros + micros > cap_micros:
                cap, used, more = map(format_micros, (cap_micros, used_micros, micros))
                return f"spending.{name} is {cap}, {used} are spent or reserved, this may cost {more}"
        return None


def format_micros(micros: int) -> str:
    """Micro-units as an amount with all six decimals, "0.012500"."""
    whole, rest = divmod(abs(micros), _MICROS)
    return f"{'-' if micros < 0 else ''}{whole}.{rest:06d}"
