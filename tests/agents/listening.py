"""A gateway with a scripted engine behind it, on a port that other programs reach."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import uvicorn

from tests.serve.fake_engines import card
from tests.serve.gateways import house
from tests.serve.scripted_engine import MODEL, ScriptedEngine

CONTEXT = 200_000


@contextlib.asynccontextmanager
async def listening(folder: Path, engine: ScriptedEngine) -> AsyncIterator[str]:
    """Its address, for the time of the block; its only model is the engine's."""
    roomy = replace(card(MODEL, sequences=4), context=CONTEXT, trained_context=CONTEXT)
    folder.mkdir()
    async with house(folder, cards=[roomy]) as home:
        home.engines.peer = engine
        with socket.create_server(("127.0.0.1", 0)) as door:
            server = uvicorn.Server(uvicorn.Config(home.app, log_level="error", lifespan="off"))
            serving = asyncio.create_task(server.serve([door]))
            try:
                yield f"http://127.0.0.1:{door.getsockname()[1]}"
            finally:
                server.should_exit = True
                await serving
