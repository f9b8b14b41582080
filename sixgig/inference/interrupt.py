"""Ctrl-C that takes effect in the middle of an evaluation."""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator

from sixgig.inference.engine import Engine
from sixgig.interrupts import ENDING


@contextlib.contextmanager
def abort_on_interrupt(engine: Engine) -> Iterator[None]:
    """Within the block Ctrl-C ends the evaluation in flight at once; KeyboardInterrupt follows as ever.

    Without it Python sees the signal only when llama_decode returns, a minute later for some paged prompts.
    Does nothing outside the main thread. Not for programs that set a wakeup descriptor themselves (asyncio).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        watcher = threading.Thread(target=_watch, args=(reader, engine), daemon=True)
        watcher.start()
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            writer.shutdown(socket.SHUT_WR)
            watcher.join()


def _watch(reader: socket.socket, engine: Engine) -> None:
    """Abort on each signal that ends a run until the other end is shut."""
    while byte := reader.recv(1):
        if byte[0] in ENDING:
            engine.abort()
