"""HTTP to an engine's socket: what is sent, what comes back in which pieces, and how it can break."""

import asyncio
import contextlib
import tempfile
from pathlib import Path

import pytest

from sixgig.engines import BrokenConnectionError, client
from sixgig.engines.client import EngineClient
from tests.serve.loops import in_loop

PATH, BODY = "/v1/completions", b'{"prompt": "a"}'
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def whole(body, status="200 OK", more=b""):
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status.encode(), more, len(body), body)


class Server:
    """Reads a request at a time and does what `answer` (a coroutine function of the writer) does."""

    def __init__(self, answer):
        self.answer, self.requests, self.connections = answer, [], 0
        self.left, self.tasks = asyncio.Event(), []

    async def serve(self, reader, writer):
        self.connections += 1
        self.tasks.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                self.requests.append(await reader.read(65536))
                if not self.requests[-1]:
                    self.requests.pop()
                    break
                await self.answer(writer)
                await writer.drain()
        self.left.set()
        writer.close()


@contextlib.asynccontextmanager
async def serving(answer):
    """(client, server)"""
    if isinstance(answer, bytes):
        said = answer

        async def answer(writer):
            writer.write(said)

    with tempfile.TemporaryDirectory(prefix="sixgig-") as folder:
        path, server = str(Path(folder) / "e.sock"), Server(answer)
        listening = await asyncio.start_unix_server(server.serve, path)
        engine = EngineClient(path)
        try:
            yield engine, server
        finally:
            await engine.aclose()
            listening.close()
            await asyncio.gather(*server.tasks)


@in_loop
async def test_a_request_is_one_write_and_its_connection_is_used_again():
    async with serving(whole(b'{"a": 1}', more=b"X-Kind: One\r\n")) as (engine, server):
        for _ in range(3):
            reply = await engine.post(PATH, content=BODY)
            assert (reply.status_code, reply.json(), reply.headers["x-kind"]) == (200, {"a": 1}, "One")
        assert server.connections == 1
        assert len(server.requests) == 3
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert (head.split(b"\r\n")[0], body) == (b"POST /v1/completions HTTP/1.1", BODY)


@in_loop
async def test_requests_side_by_side_have_connections_of_their_own():
    go_on = asyncio.Event()

    async def answer(writer):
        await go_on.wait()
        writer.write(whole(b"{}"))

    async with serving(answer) as (engine, server):
        asked = [asyncio.create_task(engine.post(PATH, json={})) for _ in range(3)]
        while server.connections < 3:
            await asyncio.sleep(0.001)
        go_on.set()
        assert [(await one).status_code for one in asked] == [200] * 3


@in_loop
async def test_a_stream_comes_in_the_pieces_that_were_written():
    async def answer(writer):
        writer.write(CHUNKED + b"3\r\none\r\n")
        await asyncio.sleep(0.01)
        writer.write(b"3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n")

    async with serving(answer) as (engine, server):
        for _ in range(2):
            async with engine.stream(PATH, BODY) as reply:
                assert reply.headers["content-type"] == "text/event-stream"
                assert [piece async for piece in reply.aiter_raw()] == [b"one", b"two", b"three"]
        assert server.connections == 1


@in_loop
async def test_an_answer_left_early_closes_its_connection_at_once():
    async def answer(writer):
        writer.write(CHUNKED + b"3\r\none\r\n")

    async with serving(answer) as (engine, server):
        async with engine.stream(PATH, BODY) as reply:
            assert await anext(reply.aiter_raw()) == b"one"
        await server.left.wait()


@pytest.mark.parametrize("at", ["headers", "body"])
@in_loop
async def test_a_request_called_off_closes_its_connection_at_once(at):
    async def answer(writer):
        if at == "body":
            writer.write(CHUNKED)

    async with serving(answer) as (engine, server):
        asked = asyncio.create_task(engine.post(PATH, content=BODY))
        while not server.requests:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        asked.cancel()
        await server.left.wait()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        CHUNKED + b"3\r\none\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
        b"no HTTP at all\r\n\r\n",
        CHUNKED + b"zz\r\none\r\n",
    ],
)
@in_loop
async def test_an_answer_that_breaks_off_or_is_no_http_is_a_broken_connection(said):
    async def answer(writer):
        writer.write(said)
        await writer.drain()
        writer.close()

    async with serving(answer) as (engine, _):
        with pytest.raises(BrokenConnectionError):
            await engine.post(PATH, content=BODY)


@in_loop
async def test_a_connection_that_rested_too_long_is_not_used_again(monkeypatch):
    async with serving(whole(b"{}")) as (engine, server):
        await engine.post(PATH, json={})
        monkeypatch.setattr(client, "KEPT_S", 0.0)
        await engine.post(PATH, json={})
        assert server.connections == 2


@in_loop
async def test_a_connection_that_the_engine_closed_is_replaced_before_it_is_asked_for():
    async def answer(writer):
        writer.write(whole(b"{}"))
        await writer.drain()
        writer.close()

    async with serving(answer) as (engine, server):
        for n_connections in (2, 3):
            assert (await engine.post(PATH, json={})).status_code == 200
            while server.connections < n_connections:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        assert (server.connections, len(server.requests)) == (3, 2)


@in_loop
async def test_a_connection_that_the_engine_closes_as_it_is_asked_is_asked_again_on_another():
    async with serving(whole(b"{}")) as (engine, server):
        await engine.post(PATH, json={})
        answer, closes = server.answer, iter([True])

        async def closing(writer):
            if next(closes, False):
                server.requests.pop()
                writer.transport.abort()
            else:
                await answer(writer)

        server.answer = closing
        assert (await engine.post(PATH, content=BODY)).status_code == 200
        assert (server.connections, len(server.requests)) == (2, 2)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200"])
@in_loop
async def test_a_request_is_sent_once_where_its_connection_was_new_or_has_begun_to_answer(said):
    async def answer(writer):
        if said and len(server.requests) == 1:
            writer.write(whole(b"{}"))
            return
        writer.write(said)
        await writer.drain()
        writer.close()

    async with serving(answer) as (engine, server):
        if said:
            await engine.post(PATH, json={})
        with pytest.raises(BrokenConnectionError):
            await engine.post(PATH, content=BODY)
        assert len(server.requests) == 1 + bool(said)


@in_loop
async def test_a_slow_reader_holds_the_engine_back():
    size, n_pieces, written = 64 << 10, 400, 0

    async def answer(writer):
        nonlocal written
        writer.write(CHUNKED)
        for _ in range(n_pieces):
            writer.write(b"%x\r\n%b\r\n" % (size, b"x" * size))
            await writer.drain()
            written += 1
        writer.write(b"0\r\n\r\n")

    async with serving(answer) as (engine, _), engine.stream(PATH, BODY) as reply:
        await asyncio.sleep(0.1)
        assert written < n_pieces / 2
        assert sum([len(piece) async for piece in reply.aiter_raw()]) == n_pieces * size


@in_loop
async def test_closed_it_breaks_off_what_is_under_way_and_takes_nothing_more():
    async def answer(writer):
        writer.write(CHUNKED)

    async with serving(answer) as (engine, server):
        asked = asyncio.create_task(engine.post(PATH, content=BODY))
        while not server.requests:
            await asyncio.sleep(0.001)
        await engine.aclose()
        with pytest.raises(BrokenConnectionError):
            await asked
        with pytest.raises(BrokenConnectionError):
            await engine.post(PATH, content=BODY)


@in_loop
async def test_a_socket_that_is_not_there_is_a_broken_connection(tmp_path):
    with pytest.raises(BrokenConnectionError, match="no connection"):
        await EngineClient(str(tmp_path / "none")).post(PATH, content=BODY)
