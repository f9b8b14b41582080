"""Bodies and headers: JSON of limited size, and never more of it passed on."""

import asyncio
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from sixgig.gateway.answer import RefusedError
from sixgig.server.bodies import BodyRoom, LimitedBody
from sixgig.server.guards import MOST_HEADER_BYTES, MOST_HEADERS, Guards
from sixgig.settings import ServerSettings, TimeoutSettings
from tests.serve.guarded import HERE, JSON, LIMIT, RING, SECRET, Inner, Pairs, ask


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("application/json", True),
        ("Application/JSON ; Charset=UTF-8", True),
        ('application/json; charset="utf-8"', True),
        ("application/json;charset=utf8;x=y", True),
        ("application/json; charset=latin-1", False),
        ('application/json; charset="utf-8', False),
        ("application/jsonp", False),
        ("application/json, text/plain", False),
        ("text/plain", False),
        ("text/plain; application/json", False),
        ("multipart/form-data; boundary=x", False),
        ("application/x-www-form-urlencoded", False),
        ("", False),
        (None, False),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_bodies_are_json_in_utf8(kind: str | None, taken: bool, method: str) -> None:
    typed = [] if kind is None else [("content-type", kind)]
    reply = ask(HERE, *typed, ("content-length", "2"), method=method, path="/v1/x", body=[b"{}"])
    assert (reply.status, reply.reached) == ((200, True) if taken else (415, False))


def test_two_content_types_are_refused() -> None:
    assert ask(HERE, JSON, ("content-type", "text/plain"), method="POST").status == 415


def test_a_compressed_body_is_refused() -> None:
    assert ask(HERE, JSON, ("content-encoding", "gzip"), method="POST").status == 415
    assert ask(HERE, JSON, ("content-encoding", "identity"), method="POST").status == 200


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded"])
def test_ollamas_paths_take_json_as_curl_sends_it_but_not_from_a_browser(kind: str | None) -> None:
    typed = [("content-length", "2"), *([] if kind is None else [("content-type", kind)])]
    own = ("origin", "http://127.0.0.1:8333")
    for headers, status in (([], 200), ([own], 415), ([("sec-fetch-site", "same-origin")], 415)):
        reply = ask(HERE, *typed, *headers, method="POST", path="/api/chat", body=[b"{}"])
        assert reply.status == status
    assert ask(HERE, ("content-type", "text/plain"), method="POST", path="/api/chat").status == 415


def test_a_post_without_a_body_needs_no_type() -> None:
    assert ask(HERE, ("content-length", "0"), method="POST").status == 200
    assert ask(HERE, ("transfer-encoding", "chunked"), method="POST").status == 415


@pytest.mark.parametrize("length", [str(LIMIT + 1), "9" * 18, "9" * 5000])
def test_a_body_announced_too_large_is_refused_before_it_comes(length: str) -> None:
    reply = ask(HERE, JSON, ("content-length", length), method="POST", path="/v1/messages")
    assert (reply.status, reply.reached, reply.header("connection")) == (413, False, "close")


@pytest.mark.parametrize("length", ["-1", "+1", "x", "", "1 ", "0x1", "1, 1", "\xb2"])
def test_a_length_that_is_none_is_a_bad_request(length: str) -> None:
    assert ask(HERE, JSON, ("content-length", length), method="POST").status == 400


def test_two_lengths_that_differ_are_a_bad_request() -> None:
    assert ask(HERE, JSON, ("content-length", "1"), ("content-length", "2"), method="POST").status == 400


async def _endpoint(request: Request) -> Response:
    return Response(await request.body())


@dataclass
class Careless(Inner):
    """Takes every failure of its body for the end, and answers as if nothing had happened."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except Exception:
            await send({"type": "http.response.start", "status": 500})
            await send({"type": "http.response.body", "body": b"failed"})


@given(st.lists(st.integers(0, LIMIT), min_size=1, max_size=8), st.sampled_from([None, "1", str(LIMIT)]))
def test_a_body_that_grows_too_large_is_cut_before_its_end(sizes: list[int], length: str | None) -> None:
    announced = [] if length is None else [("content-length", length)]
    for inner in (Inner(), Careless()):
        reply = ask(HERE, JSON, *announced, method="POST", body=[b"x" * size for size in sizes], inner=inner)
        passed = sum(len(body) for body in inner.bodies)
        if sum(sizes) <= LIMIT:
            assert (reply.status, passed) == (200, sum(sizes))
        else:
            assert (reply.status, reply.header("connection")) == (413, "close")
            assert passed <= LIMIT and b"max_body is 100 B" in reply.body


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 200), (LIMIT + 1, 413)])
def test_an_application_of_starlette_gets_the_same(size: int, status: int) -> None:
    app = Starlette(routes=[Route("/v1/models", _endpoint, methods=["POST"])])
    assert ask(HERE, JSON, method="POST", body=[b"x" * 60, b"x" * (size - 60)], inner=app).status == status


def test_an_answer_under_way_when_the_body_grows_too_large_breaks_off() -> None:
    async def early(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        while True:
            await receive()

    with pytest.raises(Exception, match="larger than this server takes"):
        ask(HERE, JSON, method="POST", body=[b"x" * LIMIT, b"x"], inner=early)


@pytest.mark.parametrize(
    "headers",
    [[("x-a", "b")] * MOST_HEADERS, [("x-a", "b" * MOST_HEADER_BYTES)], [("b" * MOST_HEADER_BYTES, "")]],
)
def test_too_many_or_too_long_headers_are_refused(headers: Pairs) -> None:
    reply = ask(HERE, *headers)
    assert (reply.status, reply.reached) == (431, False)


def test_all_bodies_together_have_a_bound_until_their_answers_have_ended() -> None:
    async def scene() -> None:
        room = BodyRoom(150)

        async def coming() -> Message:
            return {"type": "http.request", "body": b"x" * 100, "more_body": False}

        first, second = LimitedBody(coming, LIMIT, room), LimitedBody(coming, LIMIT, room)
        await first()
        with pytest.raises(RefusedError, match="busy with other bodies") as refusal:
            await second()
        assert refusal.value.status == 503 and second.refused is refusal.value
        first.release()
        assert (await second())["body"] and room.held_bytes == 100

    asyncio.run(scene())


def test_the_room_is_given_back_whatever_becomes_of_the_request() -> None:
    class Fails:
        scopes: ClassVar[list[Scope]] = []

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            raise OSError("broken")

    guards = Guards(Fails(), ServerSettings(max_body=LIMIT), RING)
    scope = {"type": "http", "method": "POST", "path": "/v1/models", "server": ("127.0.0.1", 8333)}
    scope["headers"] = [
        (n.encode(), v.encode()) for n, v in (HERE, JSON, ("authorization", f"Bearer {SECRET}"))
    ]

    async def coming() -> Message:
        return {"type": "http.request", "body": b"x", "more_body": False}

    async def sent(_message: Message) -> None:
        return None

    with pytest.raises(OSError, match="broken"):
        asyncio.run(guards(scope, coming, sent))
    assert guards._room.held_bytes == 0


@pytest.mark.parametrize("pause_s", [None, 0.002])
def test_a_body_that_stops_coming_or_trickles_is_given_up(pause_s: float | None) -> None:
    async def scene() -> None:
        async def coming() -> Message:
            await (asyncio.Event().wait() if pause_s is None else asyncio.sleep(pause_s))
            return {"type": "http.request", "body": b"", "more_body": True}

        limits = TimeoutSettings.model_validate({"silence": 0.01, "body": 0.01 if pause_s else "forever"})
        body = LimitedBody(coming, LIMIT, BodyRoom(LIMIT), limits)
        with pytest.raises(RefusedError, match="stopped coming") as refusal:
            while True:
                await body()
        assert refusal.value.status == 408

    asyncio.run(scene())
