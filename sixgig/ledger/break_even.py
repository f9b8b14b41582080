"""Own machine or API: what the same tokens cost, and from how many a day on the machine is cheaper. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from sixgig.hardware.machine import Absent
from sixgig.ledger.report import Loaded, Served

MILLION = 1_000_000
HOURS_A_DAY = 24


@dataclass(frozen=True)
class ApiPrice:
    """Millionths of the owner's currency for a million tokens in and out; what is cached costs in full."""

    input_micros: int
    output_micros: int


@dataclass(frozen=True)
class LocalUse:
    """Requests served here, and models that stayed loaded.

    metered_tokens: in and out, of the requests whose energy cost is known. days: on which anything was served
    or loaded; so a clock that was wrong for a while adds a day, not years.
    """

    served: Served
    loaded: Loaded
    metered_tokens: int
    days: int

    @property
    def tokens_in(self) -> int:
        """As far as they are known."""
        return self.served.prompt_tokens.total or 0

    @property
    def tokens_out(self) -> int:
        """As far as they are known."""
        return self.served.completion_tokens.total or 0


@dataclass(frozen=True)
class BreakEven:
    """Money in millionths; how much of the energy was measured tells `use`.

    here_micros: energy, staying loaded and hardware, as far as they are known. *_per_token: at the mix of
    tokens in and out that was served; own is energy above idle alone. tokens_per_day: from which local is
    cheaper, hardware left out. paid_back_days: until the hardware is paid for, at the pace of those days.
    """

    use: LocalUse
    api_micros: int
    here_micros: int
    loaded_micros: int | Absent
    hardware_micros: int
    api_per_token: Fraction
    own_per_token: Fraction | Absent
    loaded_per_day: Fraction | Absent
    tokens_per_day: Fraction | Absent
    paid_back_days: Fraction | Absent


def loaded_cost_per_day(empty_watts: float, micros_per_kwh: int) -> int:
    """Millionths for a machine that draws so much around the clock only to be ready."""
    return round(Fraction(empty_watts) * HOURS_A_DAY / 1000 * micros_per_kwh)


def break_even(
    use: LocalUse, price: ApiPrice, hardware_micros: int = 0, loaded_per_day: int | None = None
) -> BreakEven | Absent:
    """loaded_per_day: in place of what the ledger says of staying loaded. Absent where nothing was served.

    tokens a day = staying loaded per day / (API price per token - own cost per token), by definition.
    """
    tokens = use.tokens_in + use.tokens_out
    if not tokens or not use.days:
        return Absent("no request with known tokens was served here")
    api = Fraction(use.tokens_in * price.input_micros + use.tokens_out * price.output_micros, MILLION)
    own, staying = _own_per_token(use), _loaded_per_day(use, loaded_per_day)
    loaded = staying if isinstance(staying, Absent) else round(staying * use.days)
    known = (use.served.energy_micros.total, loaded, hardware_micros)
    rates = _rates(api / tokens, own, staying)
    return BreakEven(
        use=use,
        api_micros=round(api),
        here_micros=sum(micros for micros in known if isinstance(micros, int)),
        loaded_micros=loaded,
        hardware_micros=hardware_micros,
        api_per_token=api / tokens,
        own_per_token=own,
        loaded_per_day=staying,
        tokens_per_day=rates if isinstance(rates, Absent) else rates.tokens_per_day(),
        paid_back_days=rates
        if isinstance(rates, Absent)
        else rates.paid_back_days(Fraction(tokens, use.days), hardware_micros),
    )


def _own_per_token(use: LocalUse) -> Fraction | Absent:
    """Requests that failed have used energy too; it is part of what the others' tokens cost."""
    cost = use.served.energy_micros.total
    if cost is None or not use.metered_tokens:
        return Absent(f"the energy cost of none of {use.served.requests} requests is known")
    return Fraction(cost, use.metered_tokens)


def _loaded_per_day(use: LocalUse, given: int | None) -> Fraction | Absent:
    if given is not None:
        return Fraction(given)
    if use.loaded.energy_micros.total is None and use.loaded.energy_micros.of:
        return Absent("what staying loaded cost is not known")
    return Fraction(use.loaded.energy_micros.total or 0, use.days)


@dataclass(frozen=True)
class _Rates:
    """All three known: for a token there, for a token here, for a day of staying loaded."""

    api: Fraction
    own: Fraction
    staying: Fraction

    def tokens_per_day(self) -> Fraction | Absent:
        if self.own >= self.api:
            return Absent("never: a token's energy costs here no less than the token costs there")
        return self.staying / (self.api - self.own)

    def paid_back_days(self, tokens_per_day: Fraction, hardware_micros: int) -> Fraction | Absent:
        saved_per_day = (self.api - self.own) * tokens_per_day - self.staying
        if saved_per_day <= 0:
            return Absent("never: a day here costs no less than its tokens cost there")
        return hardware_micros / saved_per_day


def _rates(api: Fraction, own: Fraction | Absent, staying: Fraction | Absent) -> _Rates | Absent:
    if isinstance(own, Absent):
        return own
    return staying if isinstance(staying, Absent) else _Rates(api, own, staying)
