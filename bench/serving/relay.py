"""The least that anything between a client and an engine can add: bytes passed on, unread.

python -m bench.serving.relay SOCKET        prints the port it listens on
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast


@contextlib.contextmanager
def relaying(socket: str) -> Iterator[str]:
    """The address of a relay in a process of its own, as far from its client as a gateway is."""
    command = [sys.executable, "-m", "bench.serving.relay", socket]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait(10)


class _Side(asyncio.Protocol):
    """One end of a connection; what comes here goes out at the other."""

    def __init__(self, other: _Side | None = None) -> None:
        self._other = other
        self._transport: asyncio.Transport | None = None
        self._early = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def joined(self, other: _Side) -> None:
        """The other end is there."""
        self._other = other
        other.write(bytes(self._early))

    def write(self, data: bytes) -> None:
        """Out here."""
        if self._transport is not None and data:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early += data
        else:
            self._other.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._other is not None and self._other._transport is not None:
            self._other._transport.close()


class _Front(_Side):
    """The client's end; opens the engine's."""

    def __init__(self, socket: str) -> None:
        super().__init__()
        self._socket = socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._joining = asyncio.create_task(self._join())

    async def _join(self) -> None:
        loop = asyncio.get_running_loop()
        _, back = await loop.create_unix_connection(lambda: _Side(self), self._socket)
        self.joined(back)


async def _serve(socket: str) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Front(socket), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("socket")
    asyncio.run(_serve(parser.parse_args().socket))
