"""Who may talk to an engine now, who waits, and when waiting makes no sense any more."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from sixgig.errors import ServingError

_LONGEST_RETRY_S = 60
_RECENT = 0.2  # weight of the latest request in the mean duration


class QueueFullError(ServingError):
    """As many requests wait as may; retry_after_s: when one of them is likely to be through."""

    def __init__(self, waiting: int, bound: int, retry_after_s: int) -> None:
        super().__init__("the server is busy", f"{waiting} requests wait, {bound} may", "ask again later")
        self.retry_after_s = retry_after_s


@dataclass
class _Line:
    """Those who wait for one model, in order; slots: how many it answers at once."""

    slots: int
    running: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class Admission:
    """A bounded queue over all models, first come first served for each. Belongs to one event loop.

    rejected: requests turned away since the start.
    """

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.rejected = 0
        self._lines: dict[str, _Line] = {}
        self._mean_s = 1.0

    @property
    def waiting(self) -> int:
        """Requests that wait, for all models together."""
        return sum(len(line.waiting) for line in self._lines.values())

    @property
    def running(self) -> int:
        """Requests that were let through and have not ended."""
        return sum(line.running for line in self._lines.values())

    def waiting_for(self, model: str) -> int:
        """Requests that wait for one model."""
        return len(self._lines[model].waiting) if model in self._lines else 0

    def is_full(self, model: str, slots: int) -> bool:
        """Whether a request that came now would wait."""
        line = self._lines.get(model)
        return line is not None and (line.running >= slots or bool(line.waiting))

    @contextlib.asynccontextmanager
    async def enter(self, model: str, slots: int) -> AsyncIterator[float]:
        """A slot of the model for the time of the block; gives the seconds waited. Raises QueueFullError."""
        line = self._lines.setdefault(model, _Line(slots))
        line.slots = slots
        arrived_s = time.monotonic()
        await self._wait_turn(line)
        began_s = time.monotonic()
        try:
            yield began_s - arrived_s
        finally:
            self._mean_s += _RECENT * (time.monotonic() - began_s - self._mean_s)
            self._leave(line)

    async def _wait_turn(self, line: _Line) -> None:
        if line.running < line.slots and not line.waiting:
            line.running += 1
            return
        if self.waiting >= self.bound:
            self.rejected += 1
            raise QueueFullError(self.waiting, self.bound, self._retry_after_s(line))
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in line.waiting:
                line.waiting.remove(turn)
            else:  # the slot was given in the same moment: it goes on to the next
                self._leave(line)
            raise

    def _leave(self, line: _Line) -> None:
        """The slot goes to the next in line."""
        line.running -= 1
        while line.waiting and line.running < line.slots:
            turn = line.waiting.popleft()
            if not turn.done():
                line.running += 1
                turn.set_result(None)

    def _retry_after_s(self, line: _Line) -> int:
        """When this line will have moved by one, as long as requests lately took."""
        return max(1, min(_LONGEST_RETRY_S, math.ceil(self._mean_s / max(line.slots, 1))))
