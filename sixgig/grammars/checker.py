"""The process that tries grammars, seen from the gateway: started when first needed, asked, replaced."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import marshal
import sys
from collections.abc import Sequence

from sixgig.errors import EngineError, ServingError
from sixgig.grammars.child import LENGTH, Refusal
from sixgig.grammars.trial import Item

AT_ONCE = 2
ANSWER_S = 120.0  # of seconds that a busy machine gives to others; the work itself is limited
# Measured (LOG.md): the process with the engine's library, and AT_ONCE forks at their limit.
CHECKER_BYTES = 64 << 20
_AGAIN = "ask again"


class Checker:
    """try_out() what a request wants an engine to read. Belongs to one event loop.

    At most AT_ONCE are tried at the same time; others wait their turn, requests without a grammar do not.
    """

    def __init__(self) -> None:
        self._child: _Child | None = None
        self._closed = False
        self._starting, self._turn = asyncio.Lock(), asyncio.Semaphore(AT_ONCE)

    async def try_out(self, items: Sequence[Item]) -> Refusal | None:
        """Why they are refused; None where the engine may read them. Raises ServingError."""
        async with self._turn:
            for _ in range(2):  # a process that was lost is replaced
                if self._closed:
                    raise ServingError("the server is stopping", cure="ask again when it is back")
                with contextlib.suppress(ConnectionError, EOFError):
                    return await (await self._running()).ask(items)
        raise ServingError("the process that tries grammars has ended", "twice", _AGAIN)

    async def close(self) -> None:
        """End the process; nothing is tried any more."""
        self._closed = True
        if self._child is not None:
            await self._child.end()

    async def _running(self) -> _Child:
        async with self._starting:
            if self._child is None or self._child.ended:
                self._child = await _Child.start()
            return self._child


class _Child:
    """One process. Raises ConnectionError or EOFError where it has ended."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Refusal | None]] = {}
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls) -> _Child:
        """Raises EngineError where the library is not to be had."""
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-P", "-m", "sixgig.grammars.child")
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        assert process.stdout is not None
        if not await process.stdout.readline():
            await process.wait()
            raise EngineError("grammars cannot be tried here", "the process ended", "sixgig doctor says why")
        return cls(process)

    @property
    def ended(self) -> bool:
        return self._listening.done()

    async def ask(self, items: Sequence[Item]) -> Refusal | None:
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        request = marshal.dumps((number, [(item.name, item.kind, item.content) for item in items]), 2)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(LENGTH.pack(len(request)) + request)
            await self._process.stdin.drain()
            return await asyncio.wait_for(answer, ANSWER_S)
        except TimeoutError:
            raise ServingError("a grammar takes too long to try", f"{ANSWER_S:g} s", _AGAIN) from None
        finally:
            self._asked.pop(number, None)

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await asyncio.wait({self._listening})

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            told = json.loads(line)
            waiting, refused = self._asked.get(told["number"]), told["refused"]
            if waiting is not None and not waiting.done():
                waiting.set_result((refused[0], refused[1], refused[2]) if refused else None)
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(EOFError())
