"""Days and months of a time zone, as moments in seconds since 1970. A zone of None is the system's own.

A day lasts from its first midnight to the next day's, also where a clock put back shows an hour of it again.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, tzinfo

_ONE = timedelta(days=1)


def local_day(at: float, zone: tzinfo | None) -> date:
    """The day in which a moment lies."""
    day = datetime.fromtimestamp(at, zone).date()
    return day if at < day_start(day + _ONE, zone) else day + _ONE


def day_start(day: date, zone: tzinfo | None) -> float:
    """A day's first moment; where the clock skips midnight, as if it went on at its old pace."""
    return datetime.combine(day, time.min, zone).timestamp()


def next_day(day: date) -> date:
    """Tomorrow."""
    return day + _ONE


def next_month(day: date) -> date:
    """The first of the month after this day's."""
    return (day.replace(day=1) + 31 * _ONE).replace(day=1)
