"""Ctrl-C that takes effect in the middle of an evaluation."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator

from sixgig.inference.engine import Engine
from sixgig.interrupts import raising_signals


@contextlib.contextmanager
def abort_on_interrupt(engine: Engine) -> Iterator[None]:
    """Within the block Ctrl-C ends the evaluation in flight at once; KeyboardInterrupt follows as ever.

    Without it Python sees the signal only when llama_decode returns, a minute later for some paged prompts.
    Does nothing outside the main thread, nor for a signal that the program handles in another way. A wakeup
    descriptor of the program's (asyncio) gets what came meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        watcher = threading.Thread(
            target=_watch, args=(reader, engine, raising_signals(), before), daemon=True
        )
        try:
            watcher.start()
            yield
        finally:
            signal.set_wakeup_fd(before)
            writer.shutdown(socket.SHUT_WR)
            if watcher.ident is not None:
                watcher.join()


def _watch(reader: socket.socket, engine: Engine, ending: frozenset[int], other: int) -> None:
    """Abort on each of these signals until the other end is shut; pass all on to `other`, if not -1."""
    while byte := reader.recv(1):
        if byte[0] in ending:
            engine.abort()
        if other >= 0:
            with contextlib.suppress(OSError):  # full or closed: as Python itself does with it
                os.write(other, byte)
