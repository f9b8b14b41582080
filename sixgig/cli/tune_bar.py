"""How a run of tuning goes, on stderr: a bar on a terminal, lines in a log; each held-out loss in both."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sixgig.cli.console import LogLines, error_console
from sixgig.hardware import Absent
from sixgig.jobs.reporter import HeldOutLoss, TuneStep
from sixgig.units import counted, format_seconds

_STEPS_BEFORE_FORECAST = 2


class TuningBar:
    """A TuneListener, and a context manager. done: steps of earlier sittings."""

    def __init__(self, n_steps: int, done: int = 0) -> None:
        console, self._n_steps, self._done = error_console(), n_steps, done
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=console.quiet or not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=n_steps, completed=done)
        self._now = f"no step of {n_steps} done"
        self._lines = None if console.is_terminal else LogLines("tuning", words=lambda fraction: self._now)

    def step(self, step: TuneStep) -> None:
        """As TuneListener."""
        if step.step == self._done + _STEPS_BEFORE_FORECAST:
            self._forecast(step)
        energy = "" if isinstance(step.joules, Absent) else f", {step.joules:.0f} J"
        words = f"loss {step.loss:.4f}, {step.tokens / step.seconds:.0f} tokens/s{energy}"
        self._progress.update(self._task, completed=step.step, description=words)
        self._now = f"step {step.step} of {self._n_steps}, {words}"
        if self._lines is not None:
            self._lines(step.step / self._n_steps)

    def held_out(self, loss: HeldOutLoss) -> None:
        """As TuneListener."""
        mark = ", the lowest so far" if loss.is_lowest and loss.step else ""
        self._progress.console.print(
            f"after {counted(loss.step, 'step')}: held-out loss {loss.loss:.4f}{mark}"
        )

    def _forecast(self, step: TuneStep) -> None:
        """Once, from steps that have nothing to begin any more."""
        left = (self._n_steps - step.step) * step.seconds
        if left > 0:
            pace = f"{format_seconds(step.seconds)} a step"
            self._progress.console.print(
                f"{pace}: about {format_seconds(left)} to go, if nothing ends it earlier"
            )

    def __enter__(self) -> Self:
        if self._lines is not None:
            self._lines.start()
            self._lines(self._done / self._n_steps)
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._lines is not None:
            self._lines.stop()
        self._progress.stop()
