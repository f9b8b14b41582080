"""Connections that say nothing, too little, too slowly, or do not listen: none keeps anybody else out."""

import asyncio
import gc
import json
import resource
import socket
import time

import pytest

from sixgig.server.connections import MOST_HEAD_BYTES, SPARE, JoinedWrites, connections_within
from tests.serve.doors import Client, door, status_of
from tests.serve.gateways import CHAT, CHATS, chunk, house, streamed
from tests.serve.loops import LongestBlock, in_loop
from tests.serve.ollama_server import DEMO
from tests.serve.served import sixgig_serve

HEAD = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
SOON_S = 20  # a ceiling for what hangs, no measure


def chat(**fields):
    return json.dumps({"model": "here", **CHATS["openai"][1], **fields})


async def soon(awaitable):
    async with asyncio.timeout(SOON_S):
        return await awaitable


@in_loop
async def test_idle_connections_make_room_for_whoever_asks(tmp_path):
    async with house(tmp_path) as home, door(home.app, bound=8) as address:
        idle = [await Client.at(address) for _ in range(40)]
        kept = await Client.at(address)
        kept.ask("/health")
        assert await soon(kept.status()) == 200
        assert await soon(status_of(address)) == 200
        assert await soon(status_of(address, CHAT, chat())) == 200
        assert await soon(idle[0].rest()) == b""  # the oldest has gone


@in_loop
async def test_where_all_connections_are_busy_health_answers_and_others_are_told(tmp_path):
    async with house(tmp_path) as home, door(home.app, bound=2) as address:
        home.here.go_on.clear()
        busy = [await Client.at(address) for _ in range(2)]
        for client in busy:
            client.ask(CHAT, chat(stream=True))
            assert await soon(client.status()) == 200
        assert await soon(status_of(address)) == 200
        assert await soon(status_of(address, CHAT, chat())) == 503
        crowd = [await Client.at(address) for _ in range(3 * SPARE)]
        assert await soon(status_of(address)) == 200
        home.here.go_on.set()
        for client in busy:
            assert b"[DONE]" in await soon(client.reader.readuntil(b"0\r\n\r\n"))
        assert await soon(status_of(address, CHAT, chat())) == 200
        for client in crowd:
            client.leave()


@pytest.mark.parametrize("said", ["", "GET /health HT", HEAD, HEAD + "x-a: b\r\n"])
@in_loop
async def test_a_request_that_does_not_come_is_given_up(tmp_path, said):
    async with house(tmp_path) as home, door(home.app, idle="200ms", headers="200ms") as address:
        client = await Client.at(address)
        client.say(said)
        answer = await soon(client.rest())
        assert answer.startswith(b"HTTP/1.1 408") if said else answer == b""


@in_loop
async def test_a_trickle_of_headers_is_given_up(tmp_path):
    async with house(tmp_path) as home, door(home.app, headers="300ms") as address:
        client = await Client.at(address)
        client.say(HEAD)
        answer = asyncio.create_task(client.rest())
        while not answer.done():
            client.say("x-a: b\r\n")
            await asyncio.sleep(0.02)
        # What it says may be lost: the rest, unread, may reset the connection.
        assert (await soon(answer)).partition(b"\r\n")[0] in (b"", b"HTTP/1.1 408 Request Timeout")


@in_loop
async def test_a_connection_rests_between_requests_no_longer_than_the_limit(tmp_path):
    async with house(tmp_path) as home, door(home.app, idle="300ms", headers="forever") as address:
        client = await Client.at(address)
        for _ in range(2):
            client.ask("/health")
            assert await soon(client.status()) == 200
            await client.reader.readuntil(b"}")
        assert await soon(client.rest()) == b""


@in_loop
async def test_a_second_request_has_the_same_time_for_its_headers(tmp_path):
    async with house(tmp_path) as home, door(home.app, headers="200ms") as address:
        client = await Client.at(address)
        client.ask("/health")
        assert await soon(client.status()) == 200
        await client.reader.readuntil(b"}")
        client.say(HEAD)
        assert (await soon(client.rest())).startswith(b"HTTP/1.1 408")


@in_loop
async def test_what_is_sent_ahead_never_ends_the_answer_before_it(tmp_path):
    async with house(tmp_path) as home, door(home.app, headers="100ms") as address:
        home.here.go_on.clear()
        client = await Client.at(address)
        client.ask(CHAT, chat(stream=True))
        client.say(HEAD)
        assert await soon(client.status()) == 200
        await asyncio.sleep(0.4)
        home.here.go_on.set()
        assert b"[DONE]" in await soon(client.reader.readuntil(b"0\r\n\r\n"))
        assert (await soon(client.rest())).startswith(b"HTTP/1.1 408")


@in_loop
async def test_a_request_under_way_outlasts_every_limit_of_silence(tmp_path):
    async with house(tmp_path) as home, door(home.app, idle="50ms", headers="50ms") as address:
        home.here.go_on.clear()
        client = await Client.at(address)
        client.ask(CHAT, chat(stream=True))
        assert await soon(client.status()) == 200
        await asyncio.sleep(0.5)
        home.here.go_on.set()
        assert b"[DONE]" in await soon(client.reader.readuntil(b"0\r\n\r\n"))


@in_loop
async def test_headers_without_end_are_refused_before_they_fill_the_memory(tmp_path):
    async with house(tmp_path) as home, door(home.app) as address:
        client = await Client.at(address)
        client.say(HEAD)
        for _ in range(2 * MOST_HEAD_BYTES // 1024):
            client.say(f"x-a: {'b' * 1017}\r\n")
            await asyncio.sleep(0)
        assert await soon(client.status()) in (431, None)  # the rest, unread, may reset the connection
        assert await soon(status_of(address)) == 200


@in_loop
async def test_a_client_that_does_not_read_is_dropped_and_its_slot_is_free(tmp_path):
    async with (
        house(tmp_path, queue=8) as home,
        door(home.app, write="500ms", small_buffers=True) as address,
    ):
        home.here.answers = [streamed(*[chunk("x" * 10_000)] * 2000) for _ in range(2)]
        deaf = []
        for _ in range(2):  # as many as there are slots
            plain = socket.socket()
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plain.connect(address)
            plain.setblocking(False)
            deaf.append(plain)
            body = chat(stream=True)
            head = f"{HEAD}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            plain.send((head + body).encode())
        while len(home.here.asked) < 2:
            await asyncio.sleep(0.005)
        assert await soon(status_of(address, CHAT, chat())) == 200
        assert await soon(home.nothing_left())
        for plain in deaf:
            plain.close()


def test_descriptors_are_left_for_engines_and_ledger():
    assert connections_within(20_000, 3, 1024) == 1024
    assert connections_within(resource.RLIM_INFINITY, 3, 1024) == 1024
    assert 1 <= connections_within(128, 1, 1024) < 64
    assert connections_within(16, 50, 1024) == 1


class Wire:
    """A transport that counts."""

    def __init__(self):
        self.sent, self.closed = [], False
        self.is_closing = self.get_extra_info = self.pause_reading = self.resume_reading = None
        self.get_write_buffer_size = None

    def write(self, data):
        self.sent.append(data)

    def close(self):
        self.closed = True


@in_loop
async def test_what_one_turn_writes_leaves_together():
    wire = Wire()
    joined = JoinedWrites(wire, asyncio.get_running_loop())
    joined.write(b"head")
    joined.write(b"body")
    await asyncio.sleep(0)
    assert wire.sent == [b"headbody"]
    joined.write(b"last")
    joined.close()
    assert (wire.sent[1:], wire.closed) == ([b"last"], True)


@in_loop
async def test_many_idle_connections_never_hold_up_the_loop(tmp_path):
    async with house(tmp_path) as home, door(home.app, bound=400, idle="100ms") as address:
        gc.freeze()  # as the server does: what other tests left is not looked through on this loop
        with LongestBlock() as longest:
            idle = [await Client.at(address) for _ in range(300)]
            assert await soon(status_of(address)) == 200
            for client in idle:
                assert await soon(client.rest()) == b""
        gc.unfreeze()
        assert longest.processor_s < 0.05


def test_with_128_descriptors_160_idle_connections_stop_nobody(tmp_path):
    configuration = f'[server]\nram = "1G"\n[models.a]\npath = {json.dumps(str(DEMO))}'
    with sixgig_serve(tmp_path, configuration, descriptors=128) as served:
        address = served.url.removeprefix("http://").split(":")
        idle = [socket.create_connection((address[0], int(address[1]))) for _ in range(160)]
        try:
            until_s = time.monotonic() + SOON_S
            while time.monotonic() < until_s and not asked(address, "GET /health"):
                time.sleep(0.1)
            assert asked(address, "GET /health")
            assert asked(address, "GET /status.json")
        finally:
            for one in idle:
                one.close()


def asked(address, line):
    """Whether that is answered well."""
    with socket.create_connection((address[0], int(address[1])), timeout=5) as client:
        client.sendall(f"{line} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
        try:
            return client.recv(100).startswith(b"HTTP/1.1 200")
        except OSError:
            return False
