"""The server's own front, with its connections and limits, before a gateway whose engines are scripted."""

import asyncio
import contextlib
import socket

from sixgig.server.connections import Connections, watch_clients
from sixgig.server.http import HttpServer, http_config
from sixgig.settings import TimeoutSettings


@contextlib.asynccontextmanager
async def door(app, bound=1024, small_buffers=False, **timeouts):
    """(host, port) where it listens. small_buffers: of the kernel, so that little is written ahead."""
    settings = TimeoutSettings.model_validate(timeouts)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    if small_buffers:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    watch_clients(listener, settings.write_s)

    async def running(scope, receive, send):
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})

    server = HttpServer(http_config(running, Connections(bound, settings), ()))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        yield listener.getsockname()
    finally:
        server.stop(at_once=True)
        await serving
        listener.close()


class Client:
    """A connection that says just what the test tells it to."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def at(cls, address, **options):
        return cls(*await asyncio.open_connection(*address, **options))

    def say(self, text):
        self.writer.write(text.encode())

    def ask(self, path, body=None, **headers):
        """A whole request; the connection stays open."""
        length = "" if body is None else f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        method = "GET" if body is None else "POST"
        self.say(f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{length}{more}\r\n{body or ''}")

    async def status(self):
        """Of the next answer; None where the connection ends instead."""
        with contextlib.suppress(ConnectionError):
            line = await self.reader.readline()
            return int(line.split()[1]) if line else None

    async def rest(self):
        """All that comes until the connection ends."""
        with contextlib.suppress(ConnectionError):
            return await self.reader.read()
        return b""

    def leave(self):
        self.writer.close()


async def status_of(address, path="/health", body=None):
    """Of one request on a connection of its own."""
    client = await Client.at(address)
    client.ask(path, body, connection="close")
    try:
        return await client.status()
    finally:
        client.leave()
