"""Days and months of a time zone, through every change of its clocks."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.ledger.days import day_start, local_day, next_day, next_month
from sixgig.ledger.entry import LATEST

moments = st.floats(0, LATEST) | st.floats(0, 2e9)
zones = st.none() | st.timezones()


@given(moments, zones)
def test_a_moment_lies_in_its_day_and_its_month(at: float, zone: ZoneInfo | None) -> None:
    day = local_day(at, zone)
    assert day_start(day, zone) <= at < day_start(next_day(day), zone)
    assert day_start(day.replace(day=1), zone) <= at < day_start(next_month(day), zone)


@given(moments, st.floats(0, 1e6), zones)
def test_a_later_moment_is_never_of_an_earlier_day(at: float, later: float, zone: ZoneInfo | None) -> None:
    assert local_day(min(at + later, LATEST), zone) >= local_day(at, zone)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("America/Havana", date(2024, 3, 10), 23),  # midnight is skipped
        ("America/St_Johns", date(2006, 10, 28), 24),  # at 00:01 the next day the clock goes back to this day
        ("America/St_Johns", date(2006, 10, 29), 25),
        ("Pacific/Apia", date(2011, 12, 30), 0),  # skipped whole
        ("Asia/Kathmandu", date(2026, 6, 1), 24),
    ],
)
def test_a_day_is_as_long_as_its_zone_makes_it(zone: str, day: date, hours: int) -> None:
    seconds = day_start(next_day(day), ZoneInfo(zone)) - day_start(day, ZoneInfo(zone))
    assert seconds == 3600 * hours


def test_an_hour_shown_again_belongs_to_the_day_that_had_begun() -> None:
    st_johns = ZoneInfo("America/St_Johns")
    again = day_start(date(2006, 10, 29), st_johns) + 1800
    assert datetime.fromtimestamp(again, st_johns).date() == date(2006, 10, 28)
    assert local_day(again, st_johns) == date(2006, 10, 29)


def test_months_follow_one_another() -> None:
    assert next_month(date(2026, 1, 31)) == date(2026, 2, 1)
    assert next_month(date(2024, 2, 29)) == date(2024, 3, 1)
    assert next_month(date(2026, 12, 1)) == date(2027, 1, 1)
