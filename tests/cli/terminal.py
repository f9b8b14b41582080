"""The command as a process of its own, and a person's end of a terminal that it runs in."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "sixgig"]
PATIENCE_S = 60.0
_PIECE = 512  # bytes typed before the echo is read: both ways of a terminal hold 4 KiB


def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Ctrl-C works as from a terminal even where the tests' own parent ignores it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "dumb", "COLUMNS": "80"}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **options,
    )


class Terminal:
    """A person's end of a terminal in which the command runs. A context manager."""

    def __init__(self, *arguments: str, **options: Any) -> None:
        self._person, program = pty.openpty()
        streams: dict[str, Any] = {"stdin": program, "stdout": program, "stderr": program} | options
        self.process = start(*arguments, start_new_session=True, **streams)
        os.close(program)
        self.seen = ""

    def type(self, text: str | bytes) -> None:
        """As keys pressed; long texts too."""
        raw = text.encode() if isinstance(text, str) else text
        for at in range(0, len(raw), _PIECE):
            os.write(self._person, raw[at : at + _PIECE])
            if len(raw) > _PIECE:
                self.seen += self.read(0.01)

    def ask(self, line: str | bytes) -> str:
        """Type a line at the chat's prompt; what is shown until the next one, less the line."""
        self.wait_for("\n> ")
        self.type(line + ("\n" if isinstance(line, str) else b"\n"))
        return self.until("\n> ")

    def wait_for(self, words: str) -> None:
        """Until `words` appear after what was waited for last."""
        self._await(words)
        self.seen = self.seen.partition(words)[2]

    def until(self, words: str) -> str:
        """As wait_for(), but `words` may be waited for again; what came before them."""
        self._await(words)
        before, _, after = self.seen.partition(words)
        self.seen = words + after
        return before.replace("\r", "")

    def ctrl_c(self) -> None:
        """The signal, as the terminal sends it."""
        self.process.send_signal(signal.SIGINT)

    def read(self, patience_s: float = 1.0) -> str:
        """What is shown meanwhile."""
        if not select.select([self._person], [], [], patience_s)[0]:
            return ""
        try:
            return os.read(self._person, 4096).decode("utf-8", "replace")
        except OSError:  # how Linux says that the other end is closed
            raise AssertionError(f"the program ended after {self.seen!r}") from None

    def end(self) -> str:
        """The rest, until the program has ended by itself."""
        with contextlib.suppress(AssertionError):
            while True:
                self.seen += self.read()
        assert self.process.wait(PATIENCE_S) == 0
        return self.seen.replace("\r", "")

    def close(self) -> None:
        """Let go of both."""
        os.close(self._person)
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()

    def _await(self, words: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while words not in self.seen:
            assert time.monotonic() < deadline, f"no {words!r} in {self.seen!r}"
            self.seen += self.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
