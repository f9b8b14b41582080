"""How far long work is, on stderr: a bar on a terminal, lines at growing intervals in a log."""

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

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

from sixgig.cli.terminal import is_quiet, say
from sixgig.units import format_bytes, format_rate, format_seconds

LATE_S = 1.0
FIRST_LINE_S, LONGEST_SILENCE_S = 10.0, 300.0
TELLING_SHARE = 0.05  # of the work: less than this in the later half says nothing about the rest
LINE_SHARE = 0.2  # of the time that has passed, until the next line


def error_console() -> Console:
    """stderr, with colour where it is a terminal; silent with --quiet."""
    return Console(file=sys.stderr, highlight=False, quiet=is_quiet())


class Pace:
    """When work that is so far will be done, by how fast it was lately, or since the start where little was
    done lately. Times are seconds of any clock."""

    def __init__(self, now_s: float, fraction: float = 0.0) -> None:
        self._known = [(now_s, fraction)]

    def reached(self, fraction: float, now_s: float) -> None:
        """So much is done now."""
        self._known.append((now_s, fraction))

    def left_s(self, now_s: float) -> float | None:
        """None where nothing was done in the later half of the time."""
        middle_s = (self._known[0][0] + now_s) / 2
        then_s, before = max(known for known in self._known if known[0] <= middle_s)
        fraction = self._known[-1][1]
        if fraction <= before or now_s <= then_s:
            return None
        if fraction - before < TELLING_SHARE:
            then_s, before = self._known[0]
        return (1 - fraction) * (now_s - then_s) / (fraction - before)


class LogLines:
    """Where nobody looks at a bar: a line once the work takes long, and then now and then. A context manager.

    begins: also one at once. words: what the lines say is done, from the fraction that is.
    """

    def __init__(
        self, label: str, begins: bool = False, words: Callable[[float], str] = "{:.0%}".format
    ) -> None:
        self.label, self._begins, self._words = label, begins, words
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="progress", daemon=True)
        self._fraction = 0.0
        self._began_s = self._noted_s = time.monotonic()
        self._pace = Pace(self._began_s)

    def __call__(self, fraction: float) -> None:
        """So much is done; what is in the first second, an earlier run did."""
        now_s, self._fraction = time.monotonic(), fraction
        if now_s - self._began_s < LATE_S:
            self._pace = Pace(now_s, fraction)
        elif now_s - self._noted_s >= LATE_S:
            self._noted_s = now_s
            self._pace.reached(fraction, now_s)

    def start(self) -> None:
        """The work begins."""
        self._began_s = self._noted_s = time.monotonic()
        if self._begins:
            say(f"{self.label} ...")
        self._thread.start()

    def stop(self) -> None:
        """No line comes any more; safe to call twice, and before start()."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _tell(self) -> None:
        pause_s = FIRST_LINE_S
        while not self._over.wait(pause_s):
            now_s = time.monotonic()
            passed_s, left_s = now_s - self._began_s, self._pace.left_s(now_s)
            left = "" if left_s is None else f", about {_roughly(left_s)} left"
            say(f"{self.label}: {self._words(self._fraction)} after {_roughly(passed_s)}{left}")
            pause_s = min(max(FIRST_LINE_S, LINE_SHARE * passed_s), LONGEST_SILENCE_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()


def _roughly(seconds: float) -> str:
    """Whole seconds."""
    return f"{seconds:.0f} s" if seconds < 59.5 else format_seconds(round(seconds))


class _RateColumn(ProgressColumn):
    """Bytes per second in the units of the rest."""

    def render(self, task: Task) -> Text:
        """The rate, once there is one."""
        return Text(format_rate(task.speed) if task.speed else "")


class LoadingBar:
    """Bytes of weights read so far. Call it with the fraction loaded; a context manager."""

    def __init__(self, label: str, size_bytes: int) -> None:
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
        self._task = self._progress.add_task(label, total=size_bytes, start=False)
        self._size_bytes = size_bytes
        self._lines = None if console.is_terminal else LogLines(label, words=self._bytes)

    def __call__(self, fraction: float) -> None:
        """Move the bar, which appears with the first call."""
        if self._lines is not None:
            self._lines(fraction)
            return
        if fraction < 1 and not self._progress.live.is_started:
            self._progress.start_task(self._task)
            self._progress.start()
        self._progress.update(self._task, completed=int(fraction * self._size_bytes))
        if fraction >= 1:
            self._progress.stop()

    def _bytes(self, fraction: float) -> str:
        return f"{format_bytes(fraction * self._size_bytes)} of {format_bytes(self._size_bytes)}"

    def __enter__(self) -> Self:
        if self._lines is not None:
            self._lines.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._lines is not None:
            self._lines.stop()
        self._progress.stop()


class PromptBar:
    """How much of a prompt, or of other work, is done; shown only when that takes longer than a second. A
    context manager.

    begins: into a log, a line also when the work begins.
    """

    def __init__(self, label: str = "reading the prompt", begins: bool = False) -> None:
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
        self._lines = None if console.is_terminal else LogLines(label, begins)

    def __call__(self, fraction: float) -> None:
        """Move the bar; it goes when the prompt is done."""
        if self._lines is not None:
            self._lines(fraction)
        self._progress.update(self._task, completed=fraction)
        if fraction >= 1:
            self.stop()

    def stop(self) -> None:
        """Take the bar away; safe to call twice."""
        if self._lines is not None:
            self._lines.stop()
        self._timer.cancel()
        with self._lock:
            self._over = True
            self._progress.stop()

    def _show(self) -> None:
        with self._lock:
            if not self._over:
                self._progress.start()

    def __enter__(self) -> Self:
        if self._lines is not None:
            self._lines.start()
        else:
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()


def download_bar() -> Any:
    """huggingface_hub's class of progress bars; into a log, where that says nothing, one that writes
    LogLines."""
    from huggingface_hub.utils.tqdm import tqdm

    if error_console().is_terminal:
        return tqdm

    class DownloadLines(tqdm):
        """Bytes of one file fetched so far."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})  # type: ignore[no-untyped-call]
            self._size_bytes, self._here_bytes = options.get("total") or 0, options.get("initial") or 0
            name = f"fetching {options.get('desc') or 'the model'}"
            self._lines = LogLines(name, begins=True, words=self._bytes)
            self._lines.start()
            self.update(0)

        def update(self, n: float | None = 1) -> None:
            """So many bytes more."""
            self._here_bytes += n or 0
            self._lines(self._here_bytes / self._size_bytes if self._size_bytes else 0.0)

        def close(self) -> None:
            """No more of it."""
            self._lines.stop()
            super().close()

        def _bytes(self, fraction: float) -> str:
            return f"{format_bytes(self._here_bytes)} of {format_bytes(self._size_bytes)}"

    return DownloadLines
