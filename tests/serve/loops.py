"""Tests that are coroutines, each in an event loop of its own."""

import asyncio
import functools
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
