"""The peak of this process's memory over a run, anonymous and file pages apart."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sixgig.hardware.memory import ProcessMemory, process_memory

INTERVAL_S = 0.1


@dataclass(frozen=True)
class Peak:
    """Most bytes of each kind at any one sample; total_bytes: most of all kinds together."""

    anonymous_bytes: int = 0
    file_bytes: int = 0
    shared_bytes: int = 0
    total_bytes: int = 0
    n_samples: int = 0

    @property
    def owned_bytes(self) -> int:
        """The total less files' pages. What rose and fell between two samples is known of the total only (the
        kernel's record), so the sampled kinds need not add up to it: what is missing counts as owned.
        """
        return max(0, self.total_bytes - self.file_bytes)


class PeakSampler:
    """Samples while its `with` block runs. Covers growth that lasts longer than the interval; shorter
    spikes show only in total_bytes, and only if they set the process's own record (VmHWM).
    """

    def __init__(
        self, interval_s: float = INTERVAL_S, read: Callable[[], ProcessMemory] = process_memory
    ) -> None:
        self.peak = Peak()
        self._interval_s = interval_s
        self._read = read
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peak-sampler", daemon=True)
        self._record_before = 0

    def __enter__(self) -> Self:
        self._record_before = self._sample().peak_bytes
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._sample()

    def _sample(self) -> ProcessMemory:
        now, peak = self._read(), self.peak
        total = max(peak.total_bytes, now.resident_bytes)
        if self._record_before and now.peak_bytes > self._record_before:
            total = max(total, now.peak_bytes)
        self.peak = Peak(
            max(peak.anonymous_bytes, now.anonymous_bytes),
            max(peak.file_bytes, now.file_bytes),
            max(peak.shared_bytes, now.shared_bytes),
            total,
            peak.n_samples + 1,
        )
        return now
