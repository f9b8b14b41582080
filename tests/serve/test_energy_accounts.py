"""Whose joules: exact on rational numbers, conserved, never negative, and absent while unknown."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.energy import EMPTY, Accounts, Interval
from sixgig.energy.accounts import SETTLE_S
from sixgig.energy.idle import LEAST_S, MOST_SETS, RECENT, IdlePower
from sixgig.hardware.machine import Absent

A, B, AB = frozenset("a"), frozenset("b"), frozenset("ab")


def rest(accounts: Accounts, models: frozenset[str], watts: Any, seconds: Any = 2) -> None:
    """Settles for half a second, then rests."""
    lengths: list[Any] = [Fraction(SETTLE_S), seconds]
    for length in lengths:
        accounts.add(Interval(length, watts * length, models))


def rested(*sets: tuple[frozenset[str], Any], seconds: Any = 2) -> Accounts:
    """Accounts that saw each set of models rest at so many watts."""
    accounts = Accounts()
    for models, watts in sets:
        rest(accounts, models, watts, seconds)
    return accounts


def test_overlapping_requests_share_by_the_time_they_ran() -> None:
    accounts = rested((A, 16))
    accounts.add(Interval(4, 16 * 4 + 96, A, {"long": 4, "short": 2}))
    accounts.add(Interval(1, 16 + 8, A, {"long": 1}))
    assert (accounts.take("long"), accounts.take("short")) == (64 + 8, 32)


def test_no_idle_power_makes_a_request_absent_not_zero() -> None:
    accounts = rested((EMPTY, 16))
    accounts.add(Interval(1, 100, A, {"first": 1}))
    first = accounts.take("first")
    assert isinstance(first, Absent) and "idle power" in first.reason


def test_what_was_absent_for_a_while_stays_absent() -> None:
    accounts = Accounts()
    accounts.add(Interval(1, 100, A, {"early": 1}))
    rest(accounts, A, 16)
    accounts.add(Interval(1, 100, A, {"early": 1, "late": 1}))
    assert isinstance(accounts.take("early"), Absent)
    assert accounts.take("late") == 42


def test_a_change_of_models_within_an_interval_is_absent_and_teaches_nothing() -> None:
    accounts = rested((A, 16))
    accounts.add(Interval(1, 1000, None, {"r": 1}))
    accounts.add(Interval(60, 60_000, None))
    assert isinstance(accounts.take("r"), Absent)
    assert accounts.idle_watts(A) == 16 and accounts.idle_watts(AB) == accounts.idle_watts(EMPTY)


def test_a_meter_that_fails_spares_requests_before_and_after() -> None:
    accounts = rested((A, 16))
    accounts.add(Interval(1, 20, A, {"before": 1, "through": 1}))
    before = accounts.take("before")
    accounts.add(Interval(1, Absent("driver"), A, {"through": 1}))
    accounts.add(Interval(1, 20, A, {"through": 1, "after": 1}))
    assert (before, accounts.take("through"), accounts.take("after")) == (2, Absent("driver"), 2)


def test_a_request_that_no_interval_saw_is_absent() -> None:
    accounts = rested((A, 16))
    accounts.add(Interval(1, 20, A, {"gone": 0, "there": 1}))
    assert isinstance(accounts.take("gone"), Absent) and accounts.take("there") == 4


def test_taking_forgets() -> None:
    accounts = rested((A, 16))
    accounts.add(Interval(1, 20, A, {"r": 1}))
    assert accounts.take("r") == 4 and isinstance(accounts.take("r"), Absent)


@pytest.mark.parametrize("first", [EMPTY, A])
def test_staying_loaded_is_learned_before_or_after_the_load(first: frozenset[str]) -> None:
    watts: dict[frozenset[str], int] = {EMPTY: 10, A: 14}
    accounts = rested((first, watts[first]))
    assert isinstance(accounts.staying_watts("a"), Absent)
    second = A if first == EMPTY else EMPTY
    rest(accounts, second, watts[second])
    assert accounts.staying_watts("a") == 4
    assert accounts.staying_joules("a") == 4 * 2.5
    assert accounts.idle_watts(EMPTY) == 10


def test_a_second_model_is_told_from_the_first() -> None:
    accounts = rested((EMPTY, 10), (A, 14), (AB, 30))
    assert (accounts.staying_watts("a"), accounts.staying_watts("b")) == (4, 16)
    assert (accounts.staying_joules("a"), accounts.staying_joules("b")) == (4 * 5, 16 * 2.5)


def test_sets_that_differ_by_two_models_tell_neither() -> None:
    accounts = rested((EMPTY, 10), (AB, 30))
    assert isinstance(accounts.staying_watts("a"), Absent) and isinstance(
        accounts.staying_joules("b"), Absent
    )


def test_staying_loaded_counts_while_requests_run() -> None:
    accounts = rested((EMPTY, 10), (A, 14))
    accounts.add(Interval(8, 1000, A, {"r": 8}))
    assert accounts.staying_joules("a") == 4 * (2.5 + 8)


def test_a_model_that_seems_to_save_power_costs_nothing() -> None:
    assert rested((EMPTY, 14), (A, 10)).staying_watts("a") == 0


def test_nothing_is_learned_until_the_machine_has_settled() -> None:
    accounts = rested((A, 16))
    for _ in range(100):
        accounts.add(Interval(1, 100, A, {"r": 1}))
        accounts.add(Interval(SETTLE_S, 1000, A))
    assert accounts.idle_watts(A) == 16


def test_declared_idle_power_needs_no_rest_but_tells_no_staying() -> None:
    accounts = Accounts(fixed_idle_watts=32)
    accounts.add(Interval(2, 2 * 128, A, {"r": 2}))
    assert accounts.take("r") == 192 and accounts.idle_watts(EMPTY) == 32
    assert isinstance(accounts.staying_watts("a"), Absent) and isinstance(
        accounts.staying_joules("a"), Absent
    )


def test_a_model_never_loaded_has_no_joules() -> None:
    assert isinstance(Accounts().staying_joules("a"), Absent)


def test_a_burst_of_another_program_does_not_move_idle_power() -> None:
    idle = IdlePower()
    for watts in (20, 20, 500, 20, 500, 20, 20):
        idle.observe(A, watts, 1)
    assert idle.watts(A) == 20


def test_rest_weighs_by_its_length() -> None:
    idle = IdlePower()
    idle.observe(A, 8 * 64, 64)
    for _ in range(10):
        idle.observe(A, 32, 1)
    assert idle.watts(A) == 8


def test_idle_power_follows_the_recent() -> None:
    idle = IdlePower()
    for watts in [8] * RECENT + [32] * (RECENT // 2 + 1):
        idle.observe(A, watts, 1)
    assert idle.watts(A) == 32


def test_short_spells_are_pooled_until_they_tell() -> None:
    idle = IdlePower()
    for number in range(16):
        assert isinstance(idle.watts(A), Absent)
        idle.observe(A, [0, 4][number % 2], LEAST_S / 16)
    assert idle.watts(A) == 32


def test_memory_is_bounded_and_the_empty_machine_is_kept() -> None:
    idle = IdlePower()
    idle.observe(EMPTY, 20, 2)
    for number in range(2 * MOST_SETS):
        idle.observe(frozenset([str(number)]), 30, 2)
    assert idle.watts(EMPTY) == 10
    assert isinstance(idle.watts(frozenset("0")), Absent)
    assert idle.watts(frozenset([str(2 * MOST_SETS - 1)])) == 15


amounts = st.fractions(0, 1000, max_denominator=1000)
lengths = st.fractions(Fraction(1, 1000), 10, max_denominator=1000)
runs = st.dictionaries(st.sampled_from("pqrs"), st.fractions(0, 1, max_denominator=100), max_size=4)
loads = st.sampled_from([EMPTY, A, B, AB, None])
histories: Any = st.lists(
    st.builds(Interval, lengths, st.one_of(amounts, st.just(Absent("driver"))), loads, runs), max_size=30
)


@given(amounts, lengths, amounts, runs)
def test_shares_add_up_to_the_interval_above_idle(idle: Any, seconds: Any, joules: Any, running: Any) -> None:
    accounts = rested((A, idle))
    accounts.add(Interval(seconds, joules, A, running))
    shares: Any = [accounts.take(request) for request, ran in running.items() if ran > 0]
    assert sum(shares) == (max(0, joules - idle * seconds) if shares else 0)


@given(histories)
def test_nothing_is_ever_negative(history: list[Interval]) -> None:
    accounts = Accounts()
    staying: dict[str, float] = {}
    for interval in history:
        accounts.add(interval)
        for model in accounts.models:
            joules = accounts.staying_joules(model)
            if not isinstance(joules, Absent):
                assert joules >= staying.get(model, 0)
                staying[model] = joules
            else:
                assert model not in staying
    taken = [accounts.take(request) for request in "pqrs"]
    assert all(isinstance(joules, Absent) or joules >= 0 for joules in taken)


@given(histories)
def test_a_request_is_absent_exactly_if_an_interval_of_it_was(history: list[Interval]) -> None:
    accounts = Accounts()
    unknown, seen = set(), set()
    for interval in history:
        running = {request for request, ran in interval.running_s.items() if ran > 0}
        blind = interval.loaded is None or isinstance(accounts.idle_watts(interval.loaded), Absent)
        if blind or isinstance(interval.joules, Absent):
            unknown |= running
        seen |= running
        accounts.add(interval)
    for request in "pqrs":
        known = request in seen - unknown
        assert isinstance(accounts.take(request), Absent) is not known
