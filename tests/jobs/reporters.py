"""Reporters that tests look into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sixgig.jobs.reporter import Reporter


class Recorder(Reporter):
    """Keeps what it is told, as (kind, words)."""

    def __init__(self) -> None:
        super().__init__()
        self.told = list[tuple[str, str]]()

    def words(self, kind: str) -> list[str]:
        """All of one kind, in order."""
        return [words for told, words in self.told if told == kind]

    def say(self, words: str) -> None:
        self.told.append(("say", words))

    def warn(self, words: str) -> None:
        self.told.append(("warn", words))

    def plan(self, words: str) -> None:
        self.told.append(("plan", words))

    def shown(
        self, label: str, begins: bool, size_bytes: int | None
    ) -> AbstractContextManager[Callable[[float], object]]:
        self.told.append(("progress", label))
        return self._shown(label)

    @contextmanager
    def _shown(self, label: str) -> Iterator[Callable[[float], object]]:
        yield lambda fraction: self.reached(label, fraction)

    def reached(self, label: str, fraction: float) -> None:
        """So much is done of what `label` says."""


class Canceller(Recorder):
    """Cancels its job once something is under way: `words` are in its label."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words, self.fractions = words, list[float]()

    def reached(self, label: str, fraction: float) -> None:
        if self._words in label:
            self.fractions.append(fraction)
            self.cancel()
