"""The models of this machine behind one HTTP API: in the background of a program, or in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Self

import uvicorn

from sixgig.errors import ServingError, SixgigError, UsageError
from sixgig.gateway.gateway import Gateway
from sixgig.gateway.logs import LOGGERS
from sixgig.jobs.door import door
from sixgig.jobs.serve_gateway import open_gateway
from sixgig.jobs.serve_request import Plan, ServeRequest
from sixgig.server.app import make_app
from sixgig.server.connections import (
    Connections,
    connections_within,
    raise_descriptor_limit,
    watch_clients,
)
from sixgig.server.http import HttpServer, http_config, listen, url_of
from sixgig.units import format_bytes

__all__ = ["ServeRequest", "Server", "serve"]
_UNHEARD = logging.NullHandler()  # without any, Python prints warnings of loggers


class Server:
    """Not answering yet: `with` and start() serve in a thread of their own, run() in the caller's.

    Every method may be called from any thread; those that wait would hold up an event loop, unless called
    with asyncio.to_thread. Several servers may run in one process; each counts all of that within its own
    `ram`. In the background nothing of the process is changed: not its signals, limits or logging; what the
    server logs goes to the logger `sixgig.server`, and prompts are never logged. A program that ends without
    stop() cuts requests off.

    settings: the configuration with what was asked for. models: their names.
    """

    def __init__(self, request: ServeRequest) -> None:
        """Raises as serve() does."""
        plan = Plan.of(request)
        self.settings, self._specs = plan.settings, plan.specs
        self.models = tuple(spec.name for spec in plan.specs)
        self._reporter = request.listener
        self._url = ""
        self._http: HttpServer | None = None
        self._stopping = False
        self._one_run = threading.Lock()
        self._ended = threading.Event()
        self._ended.set()
        self._failure: BaseException | None = None

    @property
    def url(self) -> str:
        """Where it answers: "http://127.0.0.1:8333". Raises UsageError before it does."""
        if not self._url:
            raise UsageError("the server has not been started", cure="use it in a with block, or start() it")
        return self._url

    def start(self) -> Self:
        """Serve in the background; returns once clients are answered. Models are loaded when asked for.

        Raises UsageError where the address is taken or the server runs already, ModelFileError where no model
        can be opened, BudgetError where not even the smallest fits, LedgerError, EngineError.
        """
        answering: Future[None] = Future()
        with contextlib.ExitStack() as stack:
            serve = stack.enter_context(self._open(answering))
            if self.settings.server.log_prompts:
                self._reporter.warn("log_prompts is heeded by sixgig serve alone: no prompt is logged")
            held = stack.pop_all()
        here = (serve, held, answering)
        thread = threading.Thread(target=self._in_background, args=here, name="sixgig-serve", daemon=True)
        try:
            thread.start()
        except BaseException:  # the system has no thread left
            held.close()
            raise
        try:
            answering.result()
        except BaseException:
            self._tell(at_once=True)
            self._ended.wait()
            raise
        return self

    def run(self) -> None:
        """Serve in this thread, until stop() or, in the main thread, a signal: SIGTERM, SIGINT or SIGHUP.

        The first lets requests finish, a second cuts them off. Raises as start() does, and UsageError in a
        thread with an event loop. From then on this process may open as many files as its hard limit says.
        """
        _require_no_event_loop()
        raise_descriptor_limit()
        in_main = threading.current_thread() is threading.main_thread()
        with self._open(ends="; Ctrl-C ends" if in_main else "") as serve:
            gc.freeze()  # what is here stays, and need not be looked through while everybody waits
            try:
                serve()
            finally:
                gc.unfreeze()

    def stop(self, at_once: bool = False) -> None:
        """Take no more requests, let those under way finish, for a minute at most (at_once: cut them off),
        end the engines and close the ledger. Returns when that is done, or where nothing runs; Ctrl-C
        meanwhile cuts requests off. Raises as wait() does.
        """
        self._tell(at_once)
        try:
            self.wait()
        except KeyboardInterrupt:
            self._tell(at_once=True)
            self._ended.wait()
            raise

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until it has ended, for so long at most; whether it has.

        Raises, once, what ended it in the background, where that was a fault.
        """
        ended = self._ended.wait(timeout_s)
        if ended and self._failure is not None:
            failure, self._failure = self._failure, None
            raise _ended_by(failure) from failure
        return ended

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    def _tell(self, at_once: bool) -> None:
        self._stopping = True  # before the look: _open looks after it has made the server
        if self._http is not None:
            self._http.stop(at_once)

    def _in_background(
        self, serve: Callable[[], None], held: contextlib.ExitStack, answering: Future[None]
    ) -> None:
        try:
            with held:
                serve()
        except BaseException as error:  # SystemExit included, uvicorn's word for a start that failed
            if not answering.done():
                answering.set_exception(_ended_by(error))

    @contextlib.contextmanager
    def _open(self, answering: Future[None] | None = None, ends: str = "") -> Iterator[Callable[[], None]]:
        """What serves until it is told to stop; all it needs is open while the block runs.

        answering: done once clients are answered; a fault from then on is for wait() to tell. ends: the end
        of what is announced.
        """
        if not self._one_run.acquire(blocking=False):
            raise UsageError("the server is running already", cure="stop() it first, or make another")
        self._stopping, self._failure = False, None
        self._ended.clear()
        try:
            with contextlib.ExitStack() as stack:
                listener = self._listener(stack)
                gateway = open_gateway(self.settings, self._specs, self._reporter, stack)
                self._announce(gateway, ends)
                answered = (lambda: None) if answering is None else partial(answering.set_result, None)
                http = self._http = HttpServer(self._http_config(gateway), answered)
                if self._stopping:
                    http.stop()
                yield lambda: http.run(sockets=[listener])
        except BaseException as error:
            self._failure = error if answering is not None and answering.done() else None
            raise
        finally:
            self._http = None
            self._one_run.release()
            self._ended.set()

    def _listener(self, stack: contextlib.ExitStack) -> socket.socket:
        listener = listen(self.settings.server.host, self.settings.server.port)
        stack.callback(listener.close)
        watch_clients(listener, self.settings.timeouts.write_s)
        self._url = url_of(listener)
        return listener

    def _http_config(self, gateway: Gateway) -> uvicorn.Config:
        for name in LOGGERS:
            logging.getLogger(name).addHandler(_UNHEARD)
        server, (n_descriptors, _) = self.settings.server, resource.getrlimit(resource.RLIMIT_NOFILE)
        bound = connections_within(n_descriptors, len(self._specs), server.connections)
        connections = Connections(bound, self.settings.timeouts)
        return http_config(make_app(gateway), connections, server.trusted_proxies)

    def _announce(self, gateway: Gateway, ends: str) -> None:
        fleet = gateway.fleet
        self._reporter.say(f"sixgig serves {', '.join(fleet.models)} at {self._url}")
        room = format_bytes(fleet.budget.ram_bytes)
        apis = "OpenAI and Anthropic /v1, Ollama /api"
        self._reporter.say(f"{room} for models, loaded when asked for; APIs: {apis}{ends}")


def _ended_by(fault: BaseException) -> BaseException:
    """What the caller is told."""
    if isinstance(fault, SixgigError):
        return fault
    told = "" if isinstance(fault, SystemExit) else f"{type(fault).__name__}: {fault}"
    return ServingError(
        "the server has ended", told, "its log says why: the loggers sixgig.server and uvicorn"
    )


def _require_no_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    cure = "start() the server in the background, or run it with asyncio.to_thread"
    raise UsageError("this thread runs an event loop already", cure=cure)


def _serve(request: ServeRequest) -> Server:
    """OpenAI's, Anthropic's and Ollama's API for the models of this machine, within one memory budget.

    Gives a server that is not answering yet, its models found and fetched; each is loaded into a process of
    its own when it is asked for, and leaves when idle. `with serve("model.gguf", port=0) as server:` answers
    at server.url while the block runs. Raises UsageError, and as finding a model does.
    """
    return Server(request)


serve = door(ServeRequest, _serve)
"""Serve models over HTTP; arguments: ServeRequest."""
