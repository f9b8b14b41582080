"""The HTTP server under the application: uvicorn, listening, serving, ending as `sixgig serve` promises."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, cast

import uvicorn

from sixgig.errors import UsageError
from sixgig.server.connections import ACCEPTED_AT_ONCE, Connections

DRAIN_S = 60
_BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """A socket that clients may connect to. Raises UsageError from the system's own error."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named, for else asyncio leaves Nagle's algorithm on: 40 ms an answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        return listener
    except OSError as error:
        listener.close()
        cure = "choose another --port, or see what listens there"
        raise UsageError(
            f"cannot listen on {host} port {port}", error.strerror or str(error), cure
        ) from error


def url_of(listener: socket.socket) -> str:
    """Where clients find it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def http_config(app: Any, connections: Connections, trusted_proxies: Sequence[str]) -> uvicorn.Config:
    """uvicorn's, which leaves logging as it is."""
    return uvicorn.Config(
        app,
        http=cast("Any", connections.protocol),
        backlog=ACCEPTED_AT_ONCE,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),  # else uvicorn believes whatever comes from this machine
        forwarded_allow_ips=list(trusted_proxies),
        timeout_graceful_shutdown=DRAIN_S,
        lifespan="on",
        loop="asyncio",  # these two are what is tested, whatever else is installed
        ws="none",
    )


class HttpServer(uvicorn.Server):
    """run() or serve() answer until stop() is called; listening: called once clients are answered.

    In the main thread signals stop it, too. uvicorn itself would be killed by the signal once more, heeds
    only a second Ctrl-C, and would then leave the application as it is.
    """

    def __init__(self, config: uvicorn.Config, listening: Callable[[], object] = lambda: None) -> None:
        super().__init__(config)
        self._listening = listening

    def stop(self, at_once: bool = False) -> None:
        """Take no more requests, and let those under way finish, for DRAIN_S at most; at_once: cut them off.

        Returns before that is done; may be called from any thread, and again.
        """
        self.force_exit = self.force_exit or at_once
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM, SIGINT and a terminal that goes away let what runs finish; a second one ends at once.

        Under nohup a terminal may go away. Only the main thread is told of signals.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first lets requests finish, the second does not."""
        self.stop(at_once=self.should_exit)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepting takes as many connections at once as it lets wait: few, but many may wait."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_BACKLOG)
        self._listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Engines end and the books are closed in either case."""
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()
