"""One model's place among those of the gateway: what runs, who uses it, when it leaves."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from sixgig.engines.card import ModelCard
from sixgig.engines.process import EngineProcess
from sixgig.errors import EngineLostError


@dataclass
class Seated:
    """One model's place in the fleet.

    users: requests that have its engine or wait for it to load. wanted_away: another model waits until it is
    idle, so new requests wait as well. leaving: its process is being ended; the grant is held until then.
    """

    card: ModelCard
    engine: EngineProcess | None = None
    granted_bytes: int = 0
    users: int = 0
    used_at_s: float = 0.0
    keep_alive_s: float = 0.0
    loading: asyncio.Task[EngineProcess] | None = None
    leaving: asyncio.Task[None] | None = None
    loaded_fraction: float = 0.0
    wanted_away: bool = False
    losses: int = 0
    last_loss: EngineLostError | None = None
    changed_at: float = field(default_factory=time.time)

    @property
    def state(self) -> str:
        """In one word."""
        if self.loading is not None:
            return "loading"
        return "ready" if self.engine is not None and self.engine.alive else "unloaded"

    @property
    def deadline_s(self) -> float | None:
        """When it leaves if nobody asks; None while it is busy, not loaded, or stays for ever."""
        if self.engine is None or self.users or self.keep_alive_s < 0:
            return None
        return self.used_at_s + self.keep_alive_s
