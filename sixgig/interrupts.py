"""Ctrl-C kept whole while what is under way must not be torn: a call from C, an update of weights."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self


class InterruptShield:
    """Within the block a Ctrl-C is only noted (`pending`); at the end of the block it is delivered.

    Python raises KeyboardInterrupt in whatever Python code runs next, and inside a callback from C (the log,
    load progress) ctypes would print and drop it. Does nothing outside the main thread.
    """

    def __init__(self) -> None:
        self.pending = False
        self._previous: Callable[[int, FrameType | None], Any] | None = None

    def __enter__(self) -> Self:
        """Take the signal over."""
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler) and threading.current_thread() is threading.main_thread():
            self._previous = handler
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_exception: object) -> None:
        """Give it back, and deliver what came meanwhile."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            if self.pending:
                self._previous(signal.SIGINT, None)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.pending = True
