"""What the ledger says of this day and this month, asked now and then."""

from __future__ import annotations

import asyncio
from datetime import tzinfo
from pathlib import Path
from typing import Any

from sixgig.ledger import LedgerError, Reader, Report
from sixgig.ledger.days import day_start, local_day

FRESH_S = 5.0


class Today:
    """served: the day's sums for the status page. spent_day, spent_month: by upstream, as caps count it.

    All as of the last refresh; what cannot be read stays as it was.
    """

    def __init__(self, path: Path, zone: tzinfo | None) -> None:
        self._path, self._zone = path, zone
        self._asked_at = 0.0
        self.served: dict[str, Any] = {}
        self.spent_day: dict[str, int] = {}
        self.spent_month: dict[str, int] = {}

    async def refresh(self, now: float) -> None:
        """Ask again, unless that was done a moment ago."""
        if abs(now - self._asked_at) >= FRESH_S:
            self._asked_at = now
            try:
                await asyncio.to_thread(self._read, now)
            except LedgerError:
                return

    def _read(self, now: float) -> None:
        today = local_day(now, self._zone)
        with Reader.open(self._path, self._zone) as reader:
            day, month = (day_start(first, self._zone) for first in (today, today.replace(day=1)))
            self.served = _served(reader.report("server", day))
            self.spent_day, self.spent_month = reader.spent(day), reader.spent(month)


def _served(report: Report) -> dict[str, Any]:
    total = report.total.served
    return {
        "requests": total.requests,
        "failed": total.failed,
        "prompt_tokens": total.prompt_tokens.total or 0,
        "completion_tokens": total.completion_tokens.total or 0,
        "joules": total.joules.total,
        "measured_requests": total.joules.measured,
        "energy_cost_micros": total.energy_micros.total,
        "upstream_cost_micros": total.upstream_micros.total or 0,
    }
