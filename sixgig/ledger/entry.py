"""What the ledger keeps of a request and of a model's time in memory: figures and names, never any text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ok", "cancelled", "failed"]
LOCAL = "local"
MOST_CHARACTERS = 200
MOST = 10**13  # of anything in one row: a million such rows can still be summed in 64 bits
LATEST = 250_000_000_000.0  # a moment in the year 9892: the last ones have no next day


@dataclass(frozen=True)
class Entry:
    """One request. Money in millionths of the owner's currency; None, never 0, where a figure is not known.

    id: unique for all time, so not made from the clock alone. began_at: wall clock, seconds since 1970, UTC.
    key: the API key's name, "" without one. served_by: LOCAL or the upstream's name. cached_tokens: those of
    prompt_tokens that were not computed again. seconds (the whole request), queue_s, first_token_s: from a
    monotonic clock. joules: above an idle machine; energy_estimated where they are no meter's.

    Raises ValueError for a figure that is negative, not finite or above MOST, a moment after LATEST, and a
    text that is longer than MOST_CHARACTERS or no Unicode.
    """

    id: str
    began_at: float
    model: str
    key: str
    path: str
    served_by: str
    status: int
    outcome: Outcome
    private: bool
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    seconds: float
    queue_s: float
    first_token_s: float | None
    joules: float | None
    energy_source: str
    energy_estimated: bool
    energy_cost_micros: int | None
    upstream_cost_micros: int | None

    def __post_init__(self) -> None:
        require_storable(self, self.began_at)


@dataclass(frozen=True)
class Residency:
    """A while in which a model stayed loaded; fields as in Entry. It counts for the day on which it began.

    joules: above the same machine with no model loaded, requests left out. Told in slices of an hour or so,
    days come out right and a crash loses little.
    """

    id: str
    began_at: float
    model: str
    seconds: float
    joules: float | None
    energy_source: str
    energy_estimated: bool
    energy_cost_micros: int | None

    def __post_init__(self) -> None:
        require_storable(self, self.began_at)


def require_storable(row: object, moment: float) -> None:
    """ValueError, naming the field, where a row's values do not fit into the ledger."""
    for name, value in (*vars(row).items(), ("moment", moment)):
        if isinstance(value, str):
            _require_text(name, value)
        elif value is not None:
            require_figure(name, value)
    if moment > LATEST:
        raise ValueError(f"the moment {moment} is beyond {LATEST}")


def require_figure(name: str, value: float) -> None:
    """ValueError for what is not between 0 and MOST."""
    if not 0 <= value <= MOST:
        raise ValueError(f"{name} is {value}: not between 0 and {MOST}")


def _require_text(name: str, text: str) -> None:
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"{name} has {len(text)} characters, more than {MOST_CHARACTERS}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} is no Unicode text") from error
