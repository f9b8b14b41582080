"""A job's words and progress on stderr."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from sixgig.cli.console import LoadingBar, PromptBar, download_bar
from sixgig.cli.terminal import say, say_plan, warn
from sixgig.jobs.reporter import Reporter, TuneListener


class TerminalReporter(Reporter):
    """For the verbs; heeds --quiet and --verbose."""

    def say(self, words: str) -> None:
        """Unless --quiet."""
        say(words)

    def warn(self, words: str) -> None:
        """Always."""
        warn(words)

    def plan(self, words: str) -> None:
        """Its first line; with --verbose the others."""
        say_plan(words)

    def shown(
        self, label: str, begins: bool, size_bytes: int | None
    ) -> AbstractContextManager[Callable[[float], object]]:
        """A bar on a terminal, lines in a log."""
        return PromptBar(label, begins) if size_bytes is None else LoadingBar(label, size_bytes)

    def tuning(self, done: int, planned: int) -> AbstractContextManager[TuneListener]:
        """A bar on a terminal, lines in a log."""
        from sixgig.cli.tune_bar import TuningBar

        return TuningBar(planned, done)

    def download_bar(self) -> Any:
        """The hub's own, or lines."""
        return download_bar()
