"""Who answers a request. Each says why; notes: why a rule that applied did not make it leave."""

from __future__ import annotations

from dataclasses import dataclass

from sixgig.router.attempt import Attempt


@dataclass(frozen=True)
class Local:
    """Answer here. on_slow: where it goes after after_s seconds without a first token; on_failure: where it
    goes when the model here fails before one. Either may be None: then it stays.
    """

    reason: str
    on_slow: Attempt | None = None
    after_s: float | None = None
    on_failure: Attempt | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Leave:
    """Send it to the upstream."""

    reason: str
    attempt: Attempt
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refuse:
    """Nobody answers. status: HTTP's."""

    reason: str
    status: int
    cure: str
    notes: tuple[str, ...] = ()


Decision = Local | Leave | Refuse
