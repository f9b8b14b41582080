"""An engine process held to its grant from outside: what runs in it is not ours to trust.

Three lines, each behind the other. The kernel refuses the engine new memory beyond its plan (RLIMIT_DATA),
so that only the request that asked for it fails; a thread here looks at what is resident and ends the process
that holds more than tolerated all the same; where this system allows it, a memory control group ends it
without us.
"""

from __future__ import annotations

import contextlib
import resource
import threading
from typing import Any

import psutil

from sixgig.hardware import LimitedGroup
from sixgig.planning import Use
from sixgig.units import format_bytes

MIB = 1 << 20
TOLERATED, LAST = 20, 10  # a 20th above the grant ends a process, so that it never comes to a 10th
GROWTH_BYTES_PER_S = 250 * MIB  # the fastest growth seen; looked at twice as often as that would need
SHORTEST_S, LONGEST_S = 0.004, 0.25
PLANNING_BYTES = 1 << 30  # while it only plans: a grant that is too small is its own to refuse
_ALLOCATED = {  # once it is loaded, of a plan's uses of memory
    *(Use.PROCESS, Use.PROGRAM_FILES, Use.DENSE_WEIGHTS, Use.WEIGHTS, Use.ROUTED_EXPERTS, Use.EXPERT_CACHE),
    *(Use.KV_CACHE, Use.COMPUTE_BUFFERS, Use.ADAPTER),
}


class MemoryGuard:
    """Watches one process from its start to its end; made where no one waits for long, close() it afterwards.

    breach: why it was ended, once it was.
    """

    def __init__(self, pid: int, granted_bytes: int) -> None:
        self.granted_bytes = granted_bytes
        self.breach: str | None = None
        self._least_bytes = PLANNING_BYTES
        self._group = LimitedGroup.around(pid, self._line(LAST))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=[pid], name=f"memory of {pid}", daemon=True)
        self._thread.start()
        self._pid = pid

    def planned(self) -> None:
        """Its plan keeps to the grant: from now on the grant holds."""
        self._least_bytes = 0
        if self._group is not None:
            with contextlib.suppress(OSError):  # the thread goes on in any case
                self._group.limit(self._line(LAST))

    def loaded(self, plan: dict[str, Any]) -> None:
        """All that lasts is allocated: what it may still ask the kernel for is what the plan leaves.

        Only now: address space that is reserved for experts counts as well.
        """
        held = sum(need["size_bytes"] for need in plan["tiers"] if Use(need["name"]) in _ALLOCATED)
        left = max(self.granted_bytes - held, 0)
        with contextlib.suppress(OSError, ValueError, AttributeError, psutil.Error):
            now = psutil.Process(self._pid).memory_info().data
            resource.prlimit(self._pid, resource.RLIMIT_DATA, (now + left, now + left))

    def close(self) -> None:
        """When the process has ended; breach is final then."""
        self._ended.set()
        self._thread.join()
        if self._group is not None:
            if self.breach is None and self._group.has_killed:
                self._note(self._line(LAST))
            self._group.remove()

    def _line(self, share: int) -> int:
        return max(self.granted_bytes + self.granted_bytes // share, self._least_bytes)

    def _watch(self, pid: int) -> None:
        held = 0
        with contextlib.suppress(psutil.Error):  # it has ended
            process = psutil.Process(pid)  # tells a later process of the same number apart
            while not self._ended.wait(self._pause_s(held)):
                held = process.memory_info().rss
                if held > self._line(TOLERATED):
                    self._note(held)
                    process.kill()
                    return

    def _pause_s(self, held: int) -> float:
        """Half the time in which the fastest growth would come to the last line."""
        return min(max((self._line(LAST) - held) / (2 * GROWTH_BYTES_PER_S), SHORTEST_S), LONGEST_S)

    def _note(self, held: int) -> None:
        self.breach = f"{format_bytes(held)} held, {format_bytes(self.granted_bytes)} granted"
