"""Upstreams that hang, lie, break off and cost money."""

import asyncio
import gzip
import json

import httpx
import pytest

from sixgig.gateway.upstream import Upstreams
from tests.serve.gateways import (
    CHAT,
    CHATS,
    DONE,
    JSON,
    STREAM,
    USAGE,
    chunk,
    event,
    far_settings,
    house,
    never,
    streamed,
)  # fmt: skip
from tests.serve.loops import in_loop
from tests.serve.visits import Visit

MISSING = {"when": "model_missing"}
OVERFLOW = {"when": "context_overflow"}
FAILED = {"when": "local_failed_before_first_token"}
SLOW = {"when": "first_token_slower_than", "value": 0.02}
PAID = 2 * 30 + 10 * 20  # USAGE at the prices of far_settings


def whole(status=200, content=b"", **headers):
    return httpx.Response(status, headers={**JSON, **headers}, content=content)


def hanging(headers):
    async def nothing():
        await never()
        yield b""

    return httpx.Response(200, headers=headers, content=nothing())


def moved(_request):
    return httpx.Response(307, headers={"location": "http://169.254.169.254/latest/meta-data/"})


BOMB = gzip.compress(bytes(256 << 20), 1)
UNSPENT = {
    "refuses": lambda _r: httpx.ConnectError("refused"),
    "cannot be reached": lambda _r: httpx.ConnectTimeout("slow"),
    "wants a key": lambda _r: httpx.Response(401, json={"error": {"message": "no"}}),
    "is busy": lambda _r: httpx.Response(429),
    "redirects": moved,
}
SPENT = {
    "has no such thing": lambda _r: httpx.Response(501, text="<html>"),
    "breaks off": lambda _r: httpx.ReadError("cut"),
    "speaks no HTTP": lambda _r: httpx.RemoteProtocolError("what"),
    "hangs before the headers": never,
    "sends a page": lambda _r: httpx.Response(200, html="<html>"),
    "says no kind": lambda _r: httpx.Response(200, content=b"x"),
}
WHOLE = {
    "tells of an error": lambda _r: httpx.Response(200, json={"error": {"message": "no"}}),
    "sends no JSON": lambda _r: whole(content=b"{'a'"),
    "sends a list": lambda _r: whole(content=b"[1]"),
    "sends nothing": lambda _r: whole(),
    "nests too deep": lambda _r: whole(content=b"[" * 100_000),
    "sends a bomb": lambda _r: whole(content=BOMB, **{"content-encoding": "gzip"}),
    "hangs after the headers": lambda _r: hanging(JSON),
    "streams instead": lambda _r: streamed(chunk("a"), DONE),
}
STREAMS = {
    "is empty": lambda _r: streamed(),
    "begins with an error": lambda _r: streamed(event({"error": {"message": "no"}}), DONE),
    "hangs after the headers": lambda _r: hanging(STREAM),
    "sends a bomb": lambda _r: httpx.Response(
        200, headers=STREAM | {"content-encoding": "gzip"}, content=BOMB
    ),
    "is whole instead": lambda _r: httpx.Response(200, json={"choices": []}),
}
FAULTS = [
    *((fault, stream, False) for fault in UNSPENT.items() for stream in (False, True)),
    *((fault, stream, True) for fault in SPENT.items() for stream in (False, True)),
    *((fault, False, True) for fault in WHOLE.items()),
    *((fault, True, True) for fault in STREAMS.items()),
]
IDS = [f"{fault[0]}{', streamed' if stream else ''}" for fault, stream, _ in FAULTS]


def impatient(*rules, **changes):
    return far_settings(*rules, **{"first_token_timeout_s": 0.1, "timeout_s": 0.2} | changes)


@pytest.mark.parametrize(("fault", "stream", "spent"), FAULTS, ids=IDS)
@in_loop
async def test_before_its_first_byte_the_model_here_answers_instead(tmp_path, fault, stream, spent):
    async with house(tmp_path, impatient(OVERFLOW)) as home:
        home.here.n_prompt_tokens = 1000
        home.far.answers = [fault[1]]
        answer = await home.answered(stream=stream)
        assert answer.status == 200, answer.body
        assert (answer.text, answer.headers["x-served-by"]) == ("here says", "local")
        assert [str(request.url) for request in home.far.asked] == [f"http://far.test{CHAT}"]
        ((worst, settled),) = home.reservations
        assert settled == (None if spent else 0)
        columns = "served_by, outcome, completion_tokens, upstream_cost_micros"
        assert await home.written(columns, 1) == [("local", "ok", 20, worst if spent else 0)]
        assert await home.nothing_left()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", ["openai", "responses", "ollama"])
@in_loop
async def test_where_nobody_else_can_answer_the_error_says_what_failed(tmp_path, api, stream):
    async with house(tmp_path, impatient(MISSING)) as home:
        home.far.answers = [httpx.Response(500), httpx.Response(500)]
        answer = await home.answered(api, stream, model="else")
        assert answer.status == 503
        told = answer.json["error"]
        assert "the upstream far failed; status 500" in (told if api == "ollama" else told["message"])
        assert await home.written("status, outcome", 1) == [(503, "failed")]


def endless(piece):
    async def body():
        yield chunk("far ")
        while True:
            yield piece
            await asyncio.sleep(0)

    return httpx.Response(200, headers=STREAM, content=body())


MIDWAY = {
    "cut off": (lambda: streamed(chunk("far "), httpx.ReadError("cut")), "ReadError"),
    "without an end": (lambda: streamed(chunk("far "), chunk("x")), "stops before its end"),
    "hanging": (lambda: streamed(chunk("far "), None), "not done after 0.2 s"),
    "endless": (lambda: endless(chunk("x")), "not done after 0.2 s"),
    "one endless event": (lambda: endless(b"x" * 65536), "longer than"),
}


@pytest.mark.parametrize(
    ("api", "fault"),
    [*(("openai", fault) for fault in MIDWAY), *(("ollama", fault) for fault in list(MIDWAY)[:-1])],
)
@in_loop
async def test_after_its_first_byte_an_event_tells_of_the_end(tmp_path, api, fault):
    make, said = MIDWAY[fault]
    patience = {"timeout_s": 30} if said == "longer than" else {}
    async with house(tmp_path, impatient(MISSING, **patience)) as home:
        home.far.answers = [make()]
        answer = await home.answered(api, model="else")
        assert answer.status == 200
        assert b"far " in answer.body
        last = answer.events[-1] if api == "openai" else json.loads(answer.body.splitlines()[-1])
        assert said in (last["error"] if api == "ollama" else last["error"]["message"])
        ((worst, settled),) = home.reservations
        assert worst == settled
        assert await home.written("outcome, upstream_cost_micros", 1) == [("failed", worst)]
        assert await home.nothing_left()


@in_loop
async def test_broken_text_passes_as_it_is(tmp_path):
    broken = b'data: {"choices":[{"index":0,"delta":{"content":"\xff\xc3"}}]}\n\n'
    async with house(tmp_path, far_settings(MISSING)) as home:
        home.far.answers = [streamed(broken, DONE), streamed(broken, DONE)]
        assert (await home.answered(model="else")).body == broken + DONE
        answer = await home.answered("ollama", model="else")
        assert answer.status == 200
        assert await home.nothing_left()


NONSENSE = [
    {}, [], "free", 7, {"prompt_tokens": -30, "completion_tokens": 20}, {"prompt_tokens": True},
    {"prompt_tokens": 30, "completion_tokens": -1}, {"prompt_tokens": 30.0, "completion_tokens": 2},
    {"prompt_tokens": 10**12, "completion_tokens": 1}, {"prompt_tokens": 0, "completion_tokens": 0},
    {"prompt_tokens": "30", "completion_tokens": "20"}, {"prompt_tokens": None, "completion_tokens": 3},
]  # fmt: skip


@pytest.mark.parametrize("usage", NONSENSE)
@in_loop
async def test_a_usage_that_makes_no_sense_costs_the_worst_case(tmp_path, usage):
    async with house(tmp_path, far_settings(MISSING)) as home:
        for stream in (False, True):
            home.far.answers = [
                streamed(chunk("a"), event({"choices": [], "usage": usage}), DONE)
                if stream
                else httpx.Response(200, json={"choices": [{"message": {}}], "usage": usage})
            ]
            assert (await home.answered(stream=stream, model="else")).status == 200
        for worst, settled in home.reservations:
            assert worst == settled
        assert [cost for (cost,) in await home.written("upstream_cost_micros", 2)] == [
            worst for worst, _ in home.reservations
        ]


@in_loop
async def test_a_huge_usage_counts_as_reported_and_closes_the_cap(tmp_path):
    async with house(tmp_path, far_settings(MISSING)) as home:
        usage = {"prompt_tokens": 10**9, "completion_tokens": 0}
        home.far.answers = [httpx.Response(200, json={"choices": [], "usage": usage})]
        assert (await home.answered(stream=False, model="else")).status == 200
        assert home.reservations[0][1] == 2 * 10**9
        assert (await home.answered(stream=False, model="else")).status == 402


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", ["openai", "ollama"])
@in_loop
async def test_a_reported_usage_settles_exactly(tmp_path, api, stream):
    async with house(tmp_path, far_settings(MISSING)) as home:
        answer = await home.answered(api, stream, model="else")
        assert answer.headers["x-sixgig-cost-at-most"] > "0.000260"
        assert [settled for _, settled in home.reservations] == [PAID]
        columns = "served_by, outcome, prompt_tokens, upstream_cost_micros, private"
        assert await home.written(columns, 1) == [("far", "ok", 30, PAID, 0)]


@pytest.mark.parametrize("answer", ["usual", "nothing"])
@in_loop
async def test_a_cap_holds_under_fifty_requests_at_once(tmp_path, answer):
    """With a usage, what was settled leaves room for more; without, each counts as its worst case."""
    body = {"model": "else", "stream": False, "messages": [], "max_tokens": 100}
    worst, fits = 2 * (1024 + len(json.dumps(body))) + 10 * 100, 7
    async with house(tmp_path, far_settings(MISSING, per_day=str((fits * worst + 1) / 1e6))) as home:
        if answer == "nothing":
            home.far.answers = [httpx.Response(200, json={"choices": [{}]}) for _ in range(50)]
        visits = [Visit(home.app, CHAT, body) for _ in range(50)]
        statuses = [(await visit.ended()).status for visit in visits]
        assert set(statuses) == {200, 402}
        assert statuses.count(200) == len(home.far.asked)
        assert sum(worst if s is None else s for worst, s in home.reservations) <= fits * worst + 1
        if answer == "nothing":
            assert statuses.count(200) == fits
        assert await home.nothing_left()


@in_loop
async def test_only_its_own_key_and_what_was_asked_reach_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FAR_KEY", "far-secret")
    secrets = [
        ("authorization", "Bearer client-secret"),
        ("x-api-key", "client-secret"),
        ("cookie", "a=client-secret"),
        ("user-agent", "client-secret"),
        ("x-sixgig-private", "false"),
    ]
    async with house(tmp_path, far_settings(MISSING, api_key_env="FAR_KEY", max_output_tokens=50)) as home:
        home.far.answers = [
            httpx.Response(200, headers={"set-cookie": "who=you"}, json={"choices": []}), home.far.usual
        ]  # fmt: skip
        for limit in (7, 10**6):
            visit = home.chat(stream=False, model="else", headers=secrets, max_completion_tokens=limit)
            await visit.ended()
        for request in home.far.asked:
            assert "client-secret" not in str(request.headers.raw) + request.content.decode()
            usual = {"host", "accept", "accept-encoding", "connection", "user-agent", "content-length"}
            assert set(request.headers) - usual == {"content-type", "authorization"}
            assert request.headers["authorization"] == "Bearer far-secret"
        assert [body["max_completion_tokens"] for body in home.far.bodies] == [7, 50]


@pytest.mark.parametrize(
    ("api", "asked", "sent"),
    [
        ("openai", {"max_output_tokens": 5}, {"max_tokens": 50}),
        ("openai", {"max_output_tokens": 5, "max_tokens": 7}, {"max_tokens": 5}),
        ("responses", {"max_tokens": 5}, {"max_output_tokens": 5}),
    ],
    ids=str,
)
@in_loop
async def test_a_limit_under_a_name_that_the_endpoint_does_not_know_bounds_nothing(
    tmp_path, api, asked, sent
):
    """Upstreams take no notice of it, and the reservation would be too small."""
    async with house(tmp_path, far_settings(MISSING, max_output_tokens=50)) as home:
        await home.answered(api, model="else", **asked)
        (body,) = home.far.bodies
        limits = {name: body[name] for name in body if name.startswith("max_")}
        assert limits.keys() == sent.keys() and limits[next(iter(sent))] <= 50


@in_loop
async def test_the_body_has_its_own_name_of_the_model_and_a_limit(tmp_path):
    async with house(tmp_path, far_settings(SLOW, max_output_tokens=50)) as home:
        home.here.answers = [never]
        await home.answered(temperature=0.5)
        (body,) = home.far.bodies
        assert (body["model"], body["max_tokens"], body["temperature"]) == ("their-here", 50, 0.5)
        assert body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("size", [1, 7, 10_000])
@in_loop
async def test_a_usage_nobody_asked_for_is_left_out_of_the_stream(tmp_path, end, asked, size):
    said = event({"choices": [{"index": 0, "delta": {"content": '"usage"'}}]}, end)
    usage, done = event({"choices": [], "usage": USAGE}, end), b"data: [DONE]" + end
    stream = said + usage + done
    async with house(tmp_path, far_settings(MISSING)) as home:
        home.far.answers = [streamed(*(stream[n : n + size] for n in range(0, len(stream), size)))]
        options = {"stream_options": {"include_usage": True}} if asked else {}
        answer = await home.answered(model="else", **options)
        assert answer.body == (stream if asked else said + done)
        assert await home.written("outcome, upstream_cost_micros", 1) == [("ok", PAID)]


@in_loop
async def test_the_first_event_is_passed_on_at_once_whatever_ends_its_lines(tmp_path):
    async with house(tmp_path, far_settings(MISSING)) as home:
        first = chunk("far ").replace(b"\n", b"\r\n")
        home.far.answers = [streamed(first, None)]
        visit = home.chat(model="else")
        await visit.until(first)
        visit.leave()
        await visit.ended()
        assert await home.nothing_left()


async def _server(answer):
    """A real one that says these bytes to whoever connects."""

    async def say(_reader, writer):
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("fault", ["no TLS", "closed port", "no HTTP"])
@in_loop
async def test_real_connections_that_fail(tmp_path, fault):
    server, port = await _server(b"what?\r\n\r\n")
    if fault == "closed port":
        server.close()
    scheme = "https" if fault == "no TLS" else "http"
    settings = far_settings(MISSING, base_url=f"{scheme}://127.0.0.1:{port}/v1")
    async with server, house(tmp_path, settings, upstreams=Upstreams()) as home:
        answer = await home.answered(model="else")
        assert answer.status == 503
        settled = [settled for _, settled in home.reservations]
        assert settled == ([None] if fault == "no HTTP" else [0])


NO_UTF8 = ["utf-16", "utf-16-le", "utf-32", "utf-32-be", "latin-1"]


@pytest.mark.parametrize("api", list(CHATS))
@in_loop
async def test_what_is_not_utf8_is_refused_before_anybody_is_asked_or_anything_set_aside(tmp_path, api):
    async with house(tmp_path, far_settings(MISSING)) as home:
        path, body = CHATS[api]
        text = json.dumps({"model": "elsewhere", "user": "\u00e9", **body}, ensure_ascii=False)
        for coding in NO_UTF8:
            visit = await Visit(home.app, path, text.encode(coding)).ended()
            assert visit.status == 400 and (api == "ollama" or b"in UTF-8" in visit.body), coding
        assert home.far.asked == home.here.asked == home.reservations == []


@in_loop
async def test_what_a_tokenizer_makes_longer_is_set_aside_in_full(tmp_path):
    async with house(tmp_path, far_settings(MISSING, input_price=1, output_price=0)) as home:
        text = "\ufdfa" * 1000  # 33,000 bytes in NFKC
        await home.answered(model="elsewhere", messages=[{"role": "user", "content": text}])
        ((reserved, _settled),) = home.reservations
        assert reserved >= 33_000
