"""The engine's own words: its last log lines, kept for error messages and never printed.

Each thread has its own: two models that load at once each explain their own failure.
"""

import atexit
import ctypes
import threading
from collections import deque
from typing import Any

from sixgig.llamacpp.structs import LOG_CALLBACK

KEPT_LINES = 50
WARN, ERROR, CONTINUED = 3, 4, 5  # ggml_log_level


class _Tail(threading.local):
    def __init__(self) -> None:
        self.lines: deque[tuple[int, str]] = deque(maxlen=KEPT_LINES)


class LogTail:
    """Takes llama.cpp's log over for the life of the process and keeps each thread's last lines.

    The callback is Python: code that holds the GIL while another thread logs would deadlock (xllamacpp's own
    in-process server does; run that one in a child process).
    """

    def __init__(self, c: ctypes.CDLL) -> None:
        self._own = _Tail()
        self._c = c
        self._callback = LOG_CALLBACK(self._receive)
        c.llama_log_set(self._callback, None)
        atexit.register(_detach, c)

    def _receive(self, level: int, text: bytes | None, _user_data: Any) -> None:
        piece = (text or b"").decode("utf-8", "replace")
        lines = self._own.lines
        if level == CONTINUED and lines:
            last_level, last = lines[-1]
            lines[-1] = (last_level, (last + piece)[:1000])
        else:
            lines.append((level, piece[:1000]))

    def detach(self) -> None:
        """From now on nothing is kept, and no thread of the engine's enters Python to log."""
        _detach(self._c)

    def clear(self) -> None:
        """Forget what this thread's calls said; call before an action whose failure is to be explained."""
        self._own.lines.clear()

    def lines(self) -> list[str]:
        """The last lines, oldest first."""
        return [text.rstrip("\n") for _, text in self._own.lines]

    def complaint(self) -> str:
        """What the engine said went wrong, its first and last error in one line; "" when it said nothing."""
        errors = [text.strip() for level, text in self._own.lines if level == ERROR and text.strip()]
        return " / ".join(dict.fromkeys(errors[:1] + errors[-1:]))


def _detach(c: ctypes.CDLL) -> None:
    """At exit hand the log to a C function without effect: a Python callback must not outlive Python."""
    c.llama_log_set(ctypes.cast(c.llama_time_us, LOG_CALLBACK), None)
