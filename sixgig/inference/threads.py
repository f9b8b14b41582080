"""Threads to compute with, followed while a model runs: the performance cores less what others keep busy.

A thread that shares its core makes all others wait for it after every operation, of which a token has
hundreds: beside one busy process, one thread less is many times as fast.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sixgig.hardware.cores import Cores, threads_beside, usable_cores
from sixgig.hardware.load import LoadReading, others_between, others_now, read_load
from sixgig.llamacpp import let_threads_sleep, may_choose_waiting

LOOK_S = 0.25  # the kernel counts in hundredths of a second
SHARED = 0.5  # of a processor that others keep busy
PAUSE_S = 0.05  # longer ones are no part of a run: sampling a token takes less


class ThreadCount:
    """Asked before and after every evaluation; looks at the machine again once LOOK_S have passed.

    Begins with every performance core, so that what gives way (a niced process, mostly) is seen to do so.
    fewest: the smallest count so far. Belongs to one thread.
    """

    def __init__(
        self,
        cores: Cores,
        read: Callable[[], LoadReading | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cores, self._clock = cores, clock
        self._read = read or (lambda: read_load(cores.cpus))
        self._count = self.fewest = cores.performance
        self._before: LoadReading | None = None

    def now(self, idle_s: float) -> int:
        """Threads for the next evaluation; the last one ended idle_s ago."""
        after = self._read() if self._is_due(idle_s) else None
        if after is not None:
            if self._before is not None and idle_s <= PAUSE_S:
                self._count = threads_beside(self._cores, others_between(self._before, after))
                self.fewest = min(self.fewest, self._count)
            self._before = after
        return self._count

    def _is_due(self, idle_s: float) -> bool:
        if self._cores.performance == 1:
            return False
        return self._before is None or idle_s > PAUSE_S or self._clock() - self._before.at_s >= LOOK_S


def choose_waiting(threads: int = 0) -> None:
    """Before OpenMP is loaded: threads that wait sleep soon where the machine is shared now, else they spin.

    Spinning gains a tenth alone, and loses most of the speed where a thread waits for one that another
    process has pushed off its core. Takes a tenth of a second. threads: as EngineOptions'.
    """
    if threads != 1 and may_choose_waiting() and others_now(usable_cores().cpus) >= SHARED:
        let_threads_sleep()
