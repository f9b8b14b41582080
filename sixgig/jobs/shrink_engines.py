"""Engines as shrinking needs them: one model at a time, within the budget of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from sixgig.compress.engines import OpenModel
from sixgig.evaluate.log_probabilities import Logits
from sixgig.hardware import usable_cores
from sixgig.inference import Engine, Watcher, abort_on_interrupt
from sixgig.inference.memory import allowed
from sixgig.jobs.reporter import SILENT, Reporter
from sixgig.jobs.window_logits import logits_of, logits_opening
from sixgig.modelfile import ModelFile


class BudgetedEngines:
    """compress.Engines. ram_bytes: for the whole process, by default what is free."""

    def __init__(
        self, ram_bytes: int | None = None, threads: int | None = None, reporter: Reporter = SILENT
    ) -> None:
        self._asked, self._threads, self._reporter = ram_bytes, threads, reporter

    @property
    def threads(self) -> int:
        """Threads that compute."""
        return self._threads or usable_cores().performance

    @contextmanager
    def open(
        self,
        model: ModelFile,
        context: int,
        observe: Watcher | None = None,
        beside_bytes: int = 0,
    ) -> Iterator[OpenModel]:
        """As compress.Engines."""
        opening = logits_opening(
            model,
            context,
            self._asked,
            threads=self._threads,
            scratch_bytes=beside_bytes,
            observe=observe,
        )
        with opening.open(_Wordless(self._reporter)) as opened, abort_on_interrupt(opened.engine):
            yield _Open(opened.engine)

    def fits(self, model: ModelFile) -> bool:
        """Whether it would be held whole: a fifth of the budget is for the rest."""
        return model.size_bytes < allowed(self._asked).ram_bytes * 4 // 5

    def progress(self, label: str) -> AbstractContextManager[Callable[[float], object]]:
        """The reporter's."""
        return self._reporter.progress(label, begins=True)

    def say(self, line: str) -> None:
        """To the reporter."""
        self._reporter.say(line)


class _Wordless(Reporter):
    """Says nothing of the many loadings of a run, and ends them when the run is to end."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self._reporter = reporter

    def check(self) -> None:
        """As the run's."""
        self._reporter.check()


class _Open:
    """compress.OpenModel on an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def feed(self, tokens: Sequence[int]) -> None:
        """In ubatches, from an empty context."""
        engine = self._engine
        engine.clear()
        for start in range(0, len(tokens), engine.ubatch):
            engine.feed(tokens[start : start + engine.ubatch])

    def logits_of(self, tokens: Sequence[int], first: int) -> Iterable[Logits]:
        """As evaluate.LogitsOf."""
        return logits_of(self._engine, tokens, first)

    def tokenize(self, text: str) -> list[int]:
        """Special tokens of the text are plain text."""
        return self._engine.vocabulary.tokenize(text, add_special=True, parse_special=False)

    @property
    def bos(self) -> int | None:
        """What begins a text."""
        return self._engine.vocabulary.begin
