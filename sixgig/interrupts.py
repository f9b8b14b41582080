"""Signals that end a run: kept whole while what is under way must not be torn, and all as Ctrl-C ends it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Handler = Callable[[int, FrameType | None], Any]


class Terminated(KeyboardInterrupt):
    """A signal other than Ctrl-C asked the run to end; what heeds Ctrl-C heeds it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Within the block SIGTERM (`kill`, a service manager, a shutdown) and SIGHUP (a terminal that goes away)
    raise Terminated. Signals that are ignored, as SIGHUP is under nohup, stay so. For the main thread.
    """
    ours = [number for number in ENDING[1:] if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def raising_signals() -> frozenset[int]:
    """Those of ENDING that raise KeyboardInterrupt now; a program may handle some in its own way."""
    return frozenset(n for n in ENDING if signal.getsignal(n) in (signal.default_int_handler, _terminate))


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise Terminated(number)


class InterruptShield:
    """Within the block a Ctrl-C is only noted (`pending`), as are other signals that Python code handles and
    that end a run; at the end of the block the first of them is delivered.

    Python raises KeyboardInterrupt in whatever Python code runs next, and inside a callback from C (the log,
    load progress) ctypes would print and drop it. Does nothing outside the main thread.
    """

    def __init__(self) -> None:
        self._noted: int | None = None
        self._previous: dict[int, _Handler] = {}

    @property
    def pending(self) -> bool:
        """Whether one came."""
        return self._noted is not None

    def __enter__(self) -> Self:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if callable(handler := signal.getsignal(number)):
                    self._previous[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *_exception: object) -> None:
        """Give them back, and deliver what came meanwhile."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._noted is not None:
            self._previous[self._noted](self._noted, None)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted = number if self._noted is None else self._noted
