"""Figures since the server started, and of the last seconds: tokens and requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from sixgig.gateway.record import Record
from sixgig.gateway.samples import Samples
from sixgig.ledger import LOCAL


@dataclass
class ModelTally:
    """One model's, of requests that were answered here and have ended; rates: with those under way."""

    requests: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    rates: Samples = field(default_factory=Samples)


class Tally:
    """Figures of the models that are here, and the history of the whole server."""

    def __init__(self, names: Iterable[str]) -> None:
        self.models = {name: ModelTally() for name in names}
        self._open: dict[str, Record] = {}
        self.upstream_requests: Counter[str] = Counter()
        self.written_rates, self.read_rates = Samples(), Samples()

    def of(self, model: str) -> ModelTally:
        """One model's figures."""
        return self.models[model]

    def began(self, record: Record) -> None:
        """A call is under way."""
        self._open[record.call.id] = record

    def ended(self, record: Record) -> None:
        """It has ended."""
        self._open.pop(record.call.id, None)
        if record.served_by != LOCAL:
            self.upstream_requests[record.served_by] += 1
            return
        if record.call.model not in self.models:  # whatever a client made up
            return
        usage, tally = record.usage, self.of(record.call.model)
        tally.requests[record.outcome] += 1
        tally.prompt_tokens += usage.prompt_tokens or 0
        known = usage.completion_tokens
        tally.completion_tokens += record.watch.written if known is None else known

    def sample(self, now_s: float, hit_rate: float | None, watts: float | None) -> None:
        """To be called once a second."""
        for name, tally in self.models.items():
            tally.rates.take(now_s, self._written(name))
        self.written_rates.take(now_s, sum(map(self._written, self.models)), hit_rate, watts)
        self.read_rates.take(now_s, sum(tally.prompt_tokens for tally in self.models.values()))

    def _written(self, model: str) -> int:
        """Tokens of its answers, those under way as far as they have come: a piece of a stream is a token."""
        streams = (r for r in self._open.values() if r.call.model == model and r.served_by == LOCAL)
        return self.of(model).completion_tokens + sum(record.watch.written for record in streams)
