"""How a run of tuning goes, on stderr: a bar on a terminal, lines in a log; each held-out loss in both."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sixgig.cli.console import LogLines, error_console
from sixgig.finetune.state import Progress as Run
from sixgig.finetune.train import Stepped
from sixgig.hardware import Absent
from sixgig.hardware.energy import joules_between, read_energy
from sixgig.units import counted, format_seconds

_STEPS_BEFORE_FORECAST = 2


class TuningBar:
    """A train.Listener, and a context manager.

    joules: of the processor since the beginning, its idle share included; Absent with the reason.
    """

    def __init__(self, n_steps: int) -> None:
        console, self._n_steps = error_console(), n_steps
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
        self._task = self._progress.add_task("", total=n_steps)
        self._n_steps, self._now = n_steps, f"no step of {n_steps} done"
        self._lines = None if console.is_terminal else LogLines("tuning", words=lambda fraction: self._now)
        self._last_reading = read_energy()
        self.joules: float | Absent = 0.0
        self.seconds_per_step: list[float] = []

    def began(self, run: Run) -> None:
        """Where the run stands at its beginning."""
        self._progress.update(self._task, completed=run.step)
        if self._lines is not None:
            self._lines(run.step / self._n_steps)

    def stepped(self, run: Run, step: Stepped) -> None:
        """As train.Listener."""
        self._meter()
        self.seconds_per_step.append(step.seconds)
        if len(self.seconds_per_step) == _STEPS_BEFORE_FORECAST:
            self._forecast(run)
        speed = step.loss.n_tokens / step.seconds
        words = f"loss {step.loss.mean:.4f}, {speed:.0f} tokens/s{self._energy_words()}"
        self._progress.update(self._task, completed=run.step, description=words)
        self._now = f"step {run.step} of {self._n_steps}, {words}"
        if self._lines is not None:
            self._lines(run.step / self._n_steps)

    def evaluated(self, run: Run) -> None:
        """As train.Listener."""
        step, loss = run.held_out[-1]
        mark = "" if run.best[0] != step or step == 0 else ", the lowest so far"
        self._progress.console.print(f"after {counted(step, 'step')}: held-out loss {loss:.4f}{mark}")

    def _forecast(self, run: Run) -> None:
        """Once, from steps that have nothing to begin any more."""
        left = (self._n_steps - run.step) * self.seconds_per_step[-1]
        if left > 0:
            pace = f"{format_seconds(self.seconds_per_step[-1])} a step"
            self._progress.console.print(
                f"{pace}: about {format_seconds(left)} to go, if nothing ends it earlier"
            )

    def _meter(self) -> None:
        """Step by step: a counter may wrap once between two readings, not more often."""
        reading = read_energy()
        joules = joules_between(self._last_reading, reading)
        self._last_reading = reading
        if isinstance(joules, Absent) or isinstance(self.joules, Absent):
            self.joules = joules if isinstance(joules, Absent) else self.joules
        else:
            self.joules += joules

    def _energy_words(self) -> str:
        return "" if isinstance(self.joules, Absent) else f", {self.joules:.0f} J"

    def __enter__(self) -> Self:
        if self._lines is not None:
            self._lines.start()
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._lines is not None:
            self._lines.stop()
        self._progress.stop()
