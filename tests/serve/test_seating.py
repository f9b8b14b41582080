"""Who leaves for a newcomer, and who never does."""

from hypothesis import assume, given
from hypothesis import strategies as st

from sixgig.engines.seating import Appetite, NoRoom, Resident, Seat, Wait, seat

grants = st.integers(1, 60)


@st.composite
def rooms(draw):
    """(room, residents whose grants fit in it)."""
    granted = draw(st.lists(grants, max_size=6))
    residents = [
        Resident(f"m{i}", size, draw(st.booleans()), draw(st.integers(0, 9)))
        for i, size in enumerate(granted)
    ]
    return sum(granted) + draw(st.integers(0, 60)), residents


@st.composite
def appetites(draw):
    least, more, most = draw(grants), draw(st.integers(0, 60)), draw(st.integers(0, 60))
    return Appetite(least, least + more, least + more + most)


def staying(residents, place):
    return [r for r in residents if r.name not in place.leaving]


def as_idle(resident):
    return Resident(resident.name, resident.granted_bytes, False, resident.used_at_s)


@given(rooms(), appetites())
def test_all_grants_together_never_pass_the_room(room, appetite):
    place = seat(*room, appetite)
    if isinstance(place, Seat):
        kept = sum(r.granted_bytes for r in staying(room[1], place))
        assert kept + place.granted_bytes <= room[0]
        assert appetite.least_bytes <= place.granted_bytes <= appetite.most_bytes


@given(rooms(), appetites())
def test_a_busy_model_never_leaves(room, appetite):
    place = seat(*room, appetite)
    if isinstance(place, Seat):
        assert all(not r.busy for r in room[1] if r.name in place.leaving)
        assert len(set(place.leaving)) == len(place.leaving)


@given(rooms(), appetites())
def test_nobody_leaves_who_need_not(room, appetite):
    total, residents = room
    place = seat(total, residents, appetite)
    if isinstance(place, Seat):
        free = total - sum(r.granted_bytes for r in staying(residents, place))
        wanted = min(free, appetite.enough_bytes)
        assert all(free - r.granted_bytes < wanted for r in residents if r.name in place.leaving)


@given(rooms(), appetites())
def test_those_who_leave_are_among_the_least_recently_used(room, appetite):
    """No idle model used later than all who had to be considered is touched."""
    total, residents = room
    place = seat(total, residents, appetite)
    if isinstance(place, Seat):
        free = total - sum(r.granted_bytes for r in residents)
        idle = sorted((r for r in residents if not r.busy), key=lambda r: r.used_at_s)
        considered = []
        while free < appetite.enough_bytes and idle:
            considered.append(idle.pop(0))
            free += considered[-1].granted_bytes
        assert set(place.leaving) <= {r.name for r in considered}


def test_of_two_that_would_do_the_one_used_longest_ago_leaves():
    residents = [Resident("new", 5, False, 2.0), Resident("old", 5, False, 1.0)]
    assert seat(10, residents, Appetite(5, 5, 5)) == Seat(5, ("old",))


@given(rooms(), appetites())
def test_it_has_no_room_only_if_the_least_exceeds_the_room(room, appetite):
    assert isinstance(seat(*room, appetite), NoRoom) == (appetite.least_bytes > room[0])


@given(rooms(), appetites())
def test_it_waits_only_for_busy_models_that_are_in_the_way(room, appetite):
    total, residents = room
    place = seat(total, residents, appetite)
    if isinstance(place, Wait):
        busy = [r for r in residents if r.busy]
        assert busy
        assert set(place.names) == {r.name for r in busy}
        assert total - sum(r.granted_bytes for r in busy) < appetite.least_bytes


@given(rooms(), appetites())
def test_once_all_are_idle_there_is_a_seat(room, appetite):
    total, residents = room
    assume(appetite.least_bytes <= total)
    assert isinstance(seat(total, [as_idle(r) for r in residents], appetite), Seat)


@given(st.integers(1, 200), st.none() | st.integers(1, 200), st.integers(1, 200))
def test_an_appetite_is_in_order_and_pages_only_where_it_must(whole, paged, room):
    appetite = Appetite.of(whole, paged, room)
    assert appetite.least_bytes <= appetite.enough_bytes <= appetite.most_bytes
    if whole <= room:
        assert appetite.enough_bytes == whole
    elif paged is None:
        assert isinstance(seat(room, [], appetite), NoRoom)
    elif paged <= room:
        assert seat(room, [], appetite) == Seat(room)


def test_a_model_that_must_page_leaves_half_the_room_to_others():
    appetite = Appetite.of(whole_bytes=500, paged_bytes=20, room_bytes=100)
    others = [Resident("a", 40, False, 1.0), Resident("b", 40, False, 2.0)]
    assert seat(100, others, appetite) == Seat(60, ("a",))
