"""What joules cost."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal


def micro_units(joules: float, price_per_kwh: Decimal | float) -> int:
    """Millionths of the currency in which price_per_kwh is given, rounded to the nearest.

    At 0.30 a kWh one micro-unit is 12 J: price a sum of joules, rather than add up prices of small requests.
    """
    price = Decimal(str(price_per_kwh))
    return int((Decimal(joules) * price / Decimal("3.6")).to_integral_value(ROUND_HALF_EVEN))
