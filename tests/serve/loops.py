"""Tests that are coroutines, each in an event loop of its own."""

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The test as pytest runs it; an exception that no task's owner looked at fails it."""

    @functools.wraps(test)
    def run(*args: object, **fixtures: object) -> None:
        unheeded: list[str] = []

        async def watched() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _loop, context: unheeded.append(str(context)))
            await test(*args, **fixtures)

        asyncio.run(watched())
        assert unheeded == []

    return run


async def settle() -> None:
    """Let all tasks run until each waits for something that only the test can bring."""
    for _ in range(60):
        await asyncio.sleep(0)


class LongestBlock:
    """What the event loop's longest callback took while the block runs: nobody else is served meanwhile.

    processor_s: of its thread's own time, so that a busy machine does not count. where: that callback.
    """

    def __init__(self) -> None:
        self.processor_s, self.where = 0.0, ""
        self._run = asyncio.Handle._run

    def __enter__(self) -> "LongestBlock":
        run = self._run

        def timed(handle: asyncio.Handle) -> None:
            began_s = time.thread_time()
            run(handle)
            took_s = time.thread_time() - began_s
            if took_s > self.processor_s:
                self.processor_s, self.where = took_s, repr(handle)

        asyncio.Handle._run = timed  # type: ignore[method-assign]
        return self

    def __exit__(self, *_why: object) -> None:
        asyncio.Handle._run = self._run  # type: ignore[method-assign]
