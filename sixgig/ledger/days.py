"""Days and months of a time zone, as moments in seconds since 1970. A zone of None is the system's own."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, tzinfo


def local_day(at: float, zone: tzinfo | None) -> date:
    """The day on which a moment falls."""
    return datetime.fromtimestamp(at, zone).date()


def day_start(day: date, zone: tzinfo | None) -> float:
    """A day's first moment; where the clock skips midnight, the moment at which it does."""
    return datetime.combine(day, time.min, zone).timestamp()


def next_day(day: date) -> date:
    """Tomorrow."""
    return day + timedelta(days=1)


def next_month(day: date) -> date:
    """The first of the month after this day's."""
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1)
