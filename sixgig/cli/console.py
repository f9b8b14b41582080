"""Progress bars on stderr; silent where nobody looks."""

import sys
import threading
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from sixgig.cli.terminal import is_quiet
from sixgig.units import format_rate

LATE_S = 1.0


def error_console() -> Console:
    """stderr, with colour where it is a terminal; silent with --quiet."""
    return Console(file=sys.stderr, highlight=False, quiet=is_quiet())


class _RateColumn(ProgressColumn):
    """Bytes per second in the units of the rest."""

    def render(self, task: Task) -> Text:
        """The rate, once there is one."""
        return Text(format_rate(task.speed) if task.speed else "")


class LoadingBar:
    """Bytes of weights read so far. Call it with the fraction loaded; a context manager."""

    def __init__(self, label: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            _RateColumn(),
            TimeRemainingColumn(),
            console=(console := error_console()),
            transient=True,
            disable=is_quiet() or not console.is_terminal,
        )
        self._task = self._progress.add_task(label, total=None, start=False)
        self._size_bytes = 0

    def expect(self, size_bytes: int) -> None:
        """How much there is to read in all."""
        self._size_bytes = size_bytes
        self._progress.update(self._task, total=size_bytes)

    def __call__(self, fraction: float) -> None:
        """Move the bar, which appears with the first call."""
        if fraction < 1 and not self._progress.live.is_started:
            self._progress.start_task(self._task)
            self._progress.start()
        self._progress.update(self._task, completed=int(fraction * self._size_bytes))
        if fraction >= 1:
            self._progress.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._progress.stop()


class PromptBar:
    """How much of a prompt is read; shown only when that takes longer than a second. A context manager."""

    def __init__(self, label: str = "reading the prompt") -> None:
        self._progress = Progress(
            TextColumn(label),
            BarColumn(),
            TextColumn("{task.percentage:.0f}%"),
            TimeRemainingColumn(),
            console=(console := error_console()),
            transient=True,
            disable=is_quiet() or not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=1.0)
        self._lock = threading.Lock()
        self._over = False
        self._timer = threading.Timer(LATE_S, self._show)
        self._timer.daemon = True

    def __call__(self, fraction: float) -> None:
        """Move the bar; it goes when the prompt is done."""
        self._progress.update(self._task, completed=fraction)
        if fraction >= 1:
            self.stop()

    def stop(self) -> None:
        """Take the bar away; safe to call twice."""
        self._timer.cancel()
        with self._lock:
            self._over = True
            self._progress.stop()

    def _show(self) -> None:
        with self._lock:
            if not self._over:
                self._progress.start()

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()
