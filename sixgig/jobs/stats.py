"""What a model took while it was open."""

from __future__ import annotations

from dataclasses import dataclass

from sixgig.hardware import Peak
from sixgig.inference import EngineOptions
from sixgig.modelfile import ModelFile
from sixgig.pager.pager import Counters
from sixgig.plan import MemoryPlan


@dataclass(frozen=True)
class RunStats:
    """plan: how memory was planned; peak: most that was held; load_s: seconds until the model was open.

    counters: of the pager, None where nothing was paged. options: context, threads and so on, as used.
    """

    model: ModelFile
    options: EngineOptions
    plan: MemoryPlan
    peak: Peak
    load_s: float
    counters: Counters | None

    @property
    def peak_memory_bytes(self) -> int:
        """Of the whole process, program files included."""
        return self.peak.total_bytes

    @property
    def hit_rate(self) -> float | None:
        """Share of experts found in memory, from 0 to 1; None where nothing was paged."""
        return self.counters.hit_rate if self.counters else None
