"""A gateway with a scripted engine behind it, on a port that other programs reach."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import uvicorn

from tests.serve.fake_engines import card
from tests.serve.gateways import house

CONTEXT = 200_000


@contextlib.asynccontextmanager
async def listening(folder: Path, engine: Callable[..., Any], name: str = "scripted") -> AsyncIterator[str]:
    """Its address; the model `name` answers as `engine` does."""
    import dataclasses

    roomy = dataclasses.replace(card(name, sequences=4), context=CONTEXT, trained_context=CONTEXT)
    async with house(folder, cards=[roomy], max_body=32 << 20) as home:
        home.engines.peer = engine
        with socket.create_server(("127.0.0.1", 0)) as door:
            server = uvicorn.Server(uvicorn.Config(home.app, log_level="error", lifespan="off"))
            serving = asyncio.create_task(server.serve([door]))
            try:
                yield f"http://127.0.0.1:{door.getsockname()[1]}"
            finally:
                server.should_exit = True
                await serving
