"""What a job tells while it works, and how it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from sixgig.errors import Cancelled
from sixgig.typed import settle

if TYPE_CHECKING:
    from sixgig.hardware import Absent

Progress = Callable[[float], None]


@dataclass(frozen=True)
class TuneStep:
    """A step of tuning that was taken: number `step`, from 1, of `planned`.

    loss: of its batch, nats a token. tokens: learnt from in it. seconds: it took. joules: of the processor
    since this sitting began, its idle share included.
    """

    step: int
    planned: int
    loss: float
    tokens: int
    seconds: float
    joules: float | Absent


@dataclass(frozen=True)
class HeldOutLoss:
    """What tuning has come to after `step` steps, in nats a token of what is held out."""

    step: int
    loss: float
    is_lowest: bool


class TuneListener(Protocol):
    """Hears how a run of tuning goes."""

    def step(self, step: TuneStep) -> object:
        """After each step."""

    def held_out(self, loss: HeldOutLoss) -> object:
        """After each held-out loss, the first before any step."""


class Reporter:
    """Takes a job's words and progress; this one keeps them to itself. Override what is to be shown.

    One is for one job at a time. cancel() may come from any thread: the job raises Cancelled where it next
    reports progress, and leaves nothing half written.
    """

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """End the job."""
        self._cancelled.set()

    def say(self, words: str) -> None:
        """What is worth knowing."""

    def warn(self, words: str) -> None:
        """What to be careful about."""

    def plan(self, words: str) -> None:
        """How memory was planned: a line, then one for each use."""

    @contextmanager
    def progress(self, label: str, begins: bool = False, size_bytes: int | None = None) -> Iterator[Progress]:
        """While the block runs: what takes the fraction done, and raises Cancelled when it is to end.

        begins: worth a word before any time has passed. size_bytes: what is all of it, where bytes are read.
        """
        with self.shown(label, begins, size_bytes) as show:

            def report(fraction: float) -> None:
                self.check()
                show(fraction)

            self.check()
            yield report

    def step(self, step: TuneStep) -> None:
        """Tuning has taken a step."""

    def held_out(self, loss: HeldOutLoss) -> None:
        """Tuning was judged, before any step and then now and then."""

    def tuning(self, done: int, planned: int) -> AbstractContextManager[TuneListener]:
        """Who hears of steps while they are taken, after `done` of `planned`; step() and held_out() here."""
        return nullcontext(self)

    def check(self) -> None:
        """Raise Cancelled once the job was cancelled."""
        if self._cancelled.is_set():
            raise Cancelled("the job was cancelled")

    def shown(
        self, label: str, begins: bool, size_bytes: int | None
    ) -> AbstractContextManager[Callable[[float], object]]:
        """How progress is shown; arguments are progress()'s."""
        return nullcontext(lambda fraction: None)

    def download_bar(self) -> Any:
        """The class of progress bars, a tqdm, that shows downloads."""
        from huggingface_hub.utils.tqdm import tqdm

        class Unseen(tqdm):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **{**options, "disable": True})  # type: ignore[no-untyped-call]

        return Unseen


SILENT = Reporter()


@dataclass(frozen=True, kw_only=True)
class Request:
    """What every job is asked with. reporter: who hears of it; by default nobody."""

    reporter: Reporter | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse values of other types than the fields say."""
        settle(self)

    @property
    def listener(self) -> Reporter:
        """Who hears of it, or one that keeps it to itself."""
        return SILENT if self.reporter is None else self.reporter
