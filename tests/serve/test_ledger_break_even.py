"""Own machine against an API: the definition, held to by properties."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.hardware.machine import Absent
from sixgig.ledger import (
    ApiPrice,
    BreakEven,
    Loaded,
    LocalUse,
    Served,
    Sum,
    break_even,
    loaded_cost_per_day,
)

EVERY = 1_000_000


def use(
    tokens_in: int | None = 3 * EVERY,
    tokens_out: int | None = EVERY,
    energy: int | None = 400_000,
    loaded: int | None = 200_000,
    days: int = 10,
    metered: int | None = None,
) -> LocalUse:
    def whole(total: int | None) -> Sum[int]:
        return Sum(total, 0 if total is None else 1, 1)

    served = Served(
        1, 1, 0, 0, 1.0, whole(tokens_in), whole(None), whole(tokens_out), energy_micros=whole(energy)
    )
    tokens = (tokens_in or 0) + (tokens_out or 0)
    return LocalUse(served, Loaded(energy_micros=whole(loaded)), tokens if metered is None else metered, days)


def found(*arguments: object, **options: int) -> BreakEven:
    outcome = break_even(*arguments, **options)  # type: ignore[arg-type]
    assert isinstance(outcome, BreakEven)
    return outcome


def test_by_hand() -> None:
    """4 M tokens for 0.85 there, 0.1 a million here in energy; 0.02 a day to stay loaded; 10 days."""
    outcome = found(use(), ApiPrice(150_000, 400_000), hardware_micros=50_000)
    assert outcome.api_micros == 850_000
    assert outcome.here_micros == 400_000 + 200_000 + 50_000
    assert outcome.api_per_token == Fraction(850_000, 4 * EVERY)
    assert outcome.own_per_token == Fraction(1, 10)
    assert outcome.loaded_per_day == 20_000
    assert outcome.tokens_per_day == 20_000 / (Fraction(85, 400) - Fraction(1, 10))
    assert outcome.paid_back_days == Fraction(50_000) / Fraction(85_000 - 40_000 - 20_000)


def test_a_token_that_costs_more_here_in_energy_alone_never_pays() -> None:
    outcome = found(use(energy=4 * EVERY), ApiPrice(EVERY, EVERY))
    assert isinstance(outcome.tokens_per_day, Absent) and "never" in outcome.tokens_per_day.reason
    assert isinstance(outcome.paid_back_days, Absent)
    assert outcome.own_per_token == outcome.api_per_token == 1


def test_what_is_not_known_is_not_taken_for_nothing() -> None:
    price = ApiPrice(EVERY, EVERY)
    assert isinstance(break_even(use(None, None), price), Absent)
    assert isinstance(break_even(use(days=0), price), Absent)
    without_energy = found(use(energy=None, metered=0), price)
    assert isinstance(without_energy.own_per_token, Absent)
    assert without_energy.tokens_per_day == without_energy.own_per_token
    assert without_energy.here_micros == 200_000
    without_loaded = found(use(loaded=None), price)
    assert isinstance(without_loaded.loaded_per_day, Absent)
    assert without_loaded.tokens_per_day == without_loaded.loaded_micros
    assert without_loaded.here_micros == 400_000
    assert found(use(loaded=None), price, loaded_per_day=5).loaded_micros == 50


def test_only_metered_requests_tell_what_a_token_costs() -> None:
    assert found(use(metered=EVERY), ApiPrice(1, 1)).own_per_token == Fraction(400_000, EVERY)


def test_where_nothing_stayed_loaded_the_first_token_pays() -> None:
    nothing_loaded = LocalUse(use().served, Loaded(), 4 * EVERY, 10)
    assert found(nothing_loaded, ApiPrice(EVERY, EVERY)).tokens_per_day == 0


def test_watts_around_the_clock() -> None:
    assert loaded_cost_per_day(50.0, 300_000) == 360_000  # 1.2 kWh at 0.30
    assert loaded_cost_per_day(0.0, 300_000) == 0


counts, prices = st.integers(1, 10**12), st.integers(0, 10**8)


@given(counts, counts, prices, prices, prices, prices, st.integers(1, 4000))
def test_at_break_even_a_day_costs_the_same_on_both_sides(
    tokens_in: int, tokens_out: int, energy: int, loaded: int, price_in: int, price_out: int, days: int
) -> None:
    outcome = found(use(tokens_in, tokens_out, energy, loaded, days), ApiPrice(price_in, price_out))
    own, staying, tokens = outcome.own_per_token, outcome.loaded_per_day, outcome.tokens_per_day
    assert isinstance(own, Fraction) and isinstance(staying, Fraction)
    if isinstance(tokens, Absent):
        assert own >= outcome.api_per_token and "never" in tokens.reason
        return

    def dearer_here_by(n: Fraction) -> Fraction:
        return n * own + staying - n * outcome.api_per_token

    assert dearer_here_by(tokens) == 0
    assert dearer_here_by(tokens + 1) < 0 < dearer_here_by(tokens - 1)


@given(counts, counts, prices, prices, prices, prices, st.integers(1, 10**8))
def test_a_higher_price_there_never_asks_for_more_tokens(
    tokens_in: int, tokens_out: int, energy: int, loaded: int, price_in: int, price_out: int, more: int
) -> None:
    served = use(tokens_in, tokens_out, energy, loaded)
    before = found(served, ApiPrice(price_in, price_out)).tokens_per_day
    after = found(served, ApiPrice(price_in + more, price_out)).tokens_per_day
    if isinstance(before, Fraction):
        assert isinstance(after, Fraction) and after <= before


@given(counts, prices, prices, st.integers(1, 10**10), st.integers(1, 4000))
def test_hardware_is_paid_for_when_the_savings_reach_its_price(
    tokens: int, energy: int, loaded: int, hardware: int, days: int
) -> None:
    outcome = found(use(tokens, 0, energy, loaded, days), ApiPrice(10**6, 0), hardware_micros=hardware)
    saved = Fraction(outcome.api_micros - energy - loaded, days)
    if isinstance(outcome.paid_back_days, Absent):
        assert saved <= 0
    else:
        assert outcome.paid_back_days * saved == pytest.approx(hardware)
