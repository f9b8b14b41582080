"""One engine process, seen from the gateway: started, watched, asked, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sixgig import errors
from sixgig.engines.client import EngineClient
from sixgig.engines.guard import MemoryGuard
from sixgig.engines.order import EngineOrder
from sixgig.errors import BudgetError, EngineError, EngineLostError, SixgigError
from sixgig.hardware import ProcessMemory, process_memory
from sixgig.units import format_bytes

ANSWER_S, STOP_S = 5.0, 3.0
KEPT_BYTES, LONGEST_EVENT = 4096, 1 << 20
_NO_MEMORY = b"std::bad_alloc"  # what a program says that cannot go on without it
FRESH_S = 1.0  # for how long a read that failed explains what broke


class EngineProcess:
    """A child that serves one model behind its socket. Belongs to one event loop; made by start().

    plan: its memory plan as JSON. client: speaks HTTP with its server, without any timeout of reading.
    lost: done when the process has ended, with what is known of why.
    """

    plan: dict[str, Any]

    def __init__(self, order: EngineOrder, process: asyncio.subprocess.Process) -> None:
        self.order, self._process = order, process
        self.pid = process.pid
        self.ready_at_s = 0.0
        self.loading_s = 0.0
        self.client = EngineClient(order.socket)
        self.lost: asyncio.Future[EngineLostError] = asyncio.get_running_loop().create_future()
        self._said = b""
        self._failure: SixgigError | None = None
        self._failed_s = 0.0
        self._stopping = False
        self._asking, self._questions = asyncio.Lock(), itertools.count()
        self._guarding = asyncio.create_task(asyncio.to_thread(MemoryGuard, self.pid, order.ram_bytes))
        self._listening = asyncio.create_task(self._listen())
        self._watching = asyncio.create_task(self._watch())

    @classmethod
    async def start(
        cls, order: EngineOrder, progress: Callable[[float], object] = lambda fraction: None
    ) -> EngineProcess:
        """The process, once its model is loaded; `progress` gets the fraction meanwhile.

        Raises what the child met (BudgetError, ModelFileError, ...) or EngineLostError; nothing runs then.
        """
        process = await _spawned()
        engine = cls(order, process)
        try:
            await engine._load(progress)
        except BaseException:
            await engine.stop(at_once=True)
            raise
        return engine

    @property
    def alive(self) -> bool:
        """Whether it still runs, and is meant to."""
        return not self.lost.done() and not self._stopping

    @property
    def memory(self) -> ProcessMemory | None:
        """What it holds now; None once it has ended."""
        return process_memory(Path(f"/proc/{self.pid}/status")) if not self.lost.done() else None

    async def counters(self) -> dict[str, Any] | None:
        """The pager's, None when unpaged or not to be had."""
        return await self._ask("counters")

    async def failure(self) -> SixgigError | None:
        """The read that failed within FRESH_S: it broke every request of a batch, and each of them asks."""
        answer = await self._ask("failure")
        if answer is not None:
            self._failure, self._failed_s = _error(answer), time.monotonic()
        return self._failure if time.monotonic() - self._failed_s < FRESH_S else None

    async def stop(self, at_once: bool = False) -> None:
        """End the process, requests in flight included; returns when its memory is free."""
        self._stopping = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        if at_once:
            self._kill()
        await self.client.aclose()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await asyncio.shield(self.lost)
        self._kill()
        await asyncio.shield(self.lost)
        self._listening.cancel()
        Path(self.order.socket).unlink(missing_ok=True)

    async def _load(self, progress: Callable[[float], object]) -> None:
        began = time.monotonic()
        guard = await asyncio.shield(self._guarding)
        await self._write(self.order.line())
        while (event := await self._event()) is not None:
            match event["event"]:
                case "plan":
                    self.plan = event["plan"]
                    await asyncio.to_thread(guard.planned)
                case "loading":
                    progress(float(event["fraction"]))
                case "failed":
                    await asyncio.shield(self.lost)  # by then all that it said has been heard
                    raise _error(event, self._last_line())
                case "ready":
                    if not self.order.vram_bytes:  # a driver's address space has nothing to do with memory
                        await asyncio.to_thread(guard.loaded, self.plan)
                    self.ready_at_s = time.monotonic()
                    self.loading_s = self.ready_at_s - began
                    return
        raise await asyncio.shield(self.lost)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _ask(self, question: str) -> dict[str, Any] | None:
        async with self._asking:
            if not self.alive:
                return None
            number = next(self._questions)
            try:
                await self._write(f"{number} {question}\n".encode())
                async with asyncio.timeout(ANSWER_S):
                    return await self._reply(number)
            except TimeoutError:
                return None

    async def _reply(self, number: int) -> dict[str, Any] | None:
        """The answer to that question; older ones, which nobody waited for any more, are passed over."""
        while (event := await self._event()) is not None:
            if event.get("number") == number:
                answer: dict[str, Any] | None = event["answer"]
                return answer
        return None

    async def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it has ended: the next read says so
            self._process.stdin.write(line)
            await self._process.stdin.drain()

    async def _event(self) -> dict[str, Any] | None:
        """The next event; None when the process has ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    async def _listen(self) -> None:
        """Keep the end of what it says on stderr, to explain its own; no line is too long."""
        assert self._process.stderr is not None
        while said := await self._process.stderr.read(KEPT_BYTES):
            self._said = (self._said + said)[-KEPT_BYTES:]

    async def _watch(self) -> None:
        status = await self._process.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.shield(self._listening)
        guard = await self._guarding
        await asyncio.to_thread(guard.close)
        self.lost.set_result(self._obituary(status, guard.breach))

    def _obituary(self, status: int, breach: str | None) -> EngineLostError:
        if breach is None and _NO_MEMORY in self._said:
            breach = f"{_NO_MEMORY.decode()}: all of {format_bytes(self.order.ram_bytes)} is taken"
        if breach is not None:
            what = f"the engine process of {self.order.name} took more memory than it was granted"
            return EngineLostError(what, breach, "it is started anew; change the request that made it grow")
        numbers = f"killed by {_signal_name(-status)}" if status < 0 else f"exit status {status}"
        what = f"the engine process of {self.order.name} has ended"
        last = self._last_line()
        cure = "the server is stopping it" if self._stopping else "it is started anew; ask again"
        return EngineLostError(what, f"{numbers}: {last}" if last else numbers, cure)

    def _last_line(self) -> str:
        lines = self._said.decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _signal_name(number: int) -> str:
    return next((s.name for s in signal.Signals if s == number), f"signal {number}")


async def _spawned() -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-P", "-m", "sixgig.engines.child")
    try:
        return await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, limit=LONGEST_EVENT
        )
    except OSError as error:
        raise EngineError(
            "no process for the model can be started", str(error), "see what the system lacks"
        ) from error


def _error(event: dict[str, Any], said: str = "") -> SixgigError:
    """The child's error, of its own class; smallest_bytes stands on it where it was told.

    said: what stands in for numbers that it does not have.
    """
    kind = getattr(errors, event["kind"], EngineError)
    error: SixgigError = kind(event["what"], event["numbers"] or said, event["cure"])
    if isinstance(error, BudgetError):
        error.smallest_bytes = event.get("smallest_bytes")
    return error
