"""A stream that waits says so before its client gives up, in what every client passes over."""

import asyncio
import json

import anthropic
import httpx
import ollama
import openai
import pytest

from sixgig.errors import BudgetError
from sixgig.gateway.call import Call
from sixgig.server.completing import CompletedStream
from tests.serve.doors import door
from tests.serve.fake_engines import card
from tests.serve.gateways import CHATS, DONE, chunk, event, far_settings, house, never, streamed
from tests.serve.loops import in_loop
from tests.serve.scripted_engine import SPOKEN

QUICK = {"timeouts": {"heartbeat": "30ms"}}
WAITING = b": waiting\n\n"
SSE = [api for api in CHATS if api != "ollama"]


def house_of(folder, settings=QUICK, **more):
    return house(folder, settings, cards=[card("here")], queue=8, **more)


async def waiting(home, api="openai", **fields):
    """A stream behind another, once its client has heard that it waits."""
    home.here.go_on.clear()
    first = home.chat()
    await home.here.came.wait()
    visit = home.chat(api, **fields)
    await visit.until(b'"content":""' if api == "ollama" else WAITING)
    return first, visit


@pytest.mark.parametrize("api", list(CHATS))
@in_loop
async def test_in_the_queue_headers_and_comments_come_first_then_the_answer(tmp_path, api):
    async with house_of(tmp_path) as home:
        first, visit = await waiting(home, api)
        kind = "application/x-ndjson" if api == "ollama" else "text/event-stream"
        assert (visit.status, visit.headers["content-type"]) == (200, kind)
        assert home.gateway.queue.waiting == 1
        home.here.go_on.set()
        await first.ended()
        await visit.ended()
        assert visit.body.endswith(b"}\n" if api == "ollama" else b"\n\n")
        if api != "ollama":
            path = CHATS[api][0]
            stream = CompletedStream(Call("openai", path, b"{}", "here", True))
            words = b"".join([piece async for piece in home.here._words(path)])
            assert visit.body.replace(WAITING, b"") == stream.feed(words) + stream.close()
        assert await home.nothing_left()
        assert await home.written("outcome, status", 2) == [("ok", 200)] * 2


@pytest.mark.parametrize("api", list(CHATS))
@in_loop
async def test_what_fails_after_the_headers_is_the_streams_last_event(tmp_path, api):
    async with house_of(tmp_path) as home:
        first, visit = await waiting(home, api)
        said = "tools need a template"
        home.here.answers = [httpx.Response(400, json={"error": {"message": said}})]
        home.here.go_on.set()
        await first.ended()
        await visit.ended()
        last = json.loads(visit.body.splitlines()[-1 if api == "ollama" else -2].removeprefix(b"data: "))
        assert said in json.dumps(last["error"])
        assert visit.status == 200
        assert await home.nothing_left()
        assert ("failed", 400) in await home.written("outcome, status", 2)


@in_loop
async def test_while_the_model_loads_a_stream_is_not_silent_and_hears_why_it_did_not(tmp_path):
    async with house_of(tmp_path) as home:
        home.engines.may_load.clear()
        home.engines.fails = [BudgetError("no room", "9 needed")]
        visit = home.chat("anthropic")
        await visit.until(2 * WAITING)
        home.engines.may_load.set()
        await visit.ended()
        assert visit.body.splitlines()[-3] == b"event: error"
        assert b"no room" in visit.body


@in_loop
async def test_what_fails_at_once_has_a_status(tmp_path):
    async with house_of(tmp_path, {"timeouts": {"heartbeat": "20s"}}) as home:
        home.here.answers = [httpx.Response(400, json={"error": {"message": "no"}})]
        assert (await home.answered()).status == 400


@pytest.mark.parametrize("api", SSE)
@in_loop
async def test_a_prompt_too_long_is_refused_with_its_status_before_it_waits(tmp_path, api):
    async with house_of(tmp_path) as home:
        first, _ = await waiting(home)
        home.here.n_prompt_tokens = 64
        refused = await home.chat(api).ended()
        words = b"prompt is too long" if api == "anthropic" else b"exceeds the available context size"
        assert (refused.status, words in refused.body) == (400, True)
        home.here.n_prompt_tokens = 63
        second = home.chat(api)
        await second.until(WAITING)
        home.here.go_on.set()
        for visit in (first, second):
            await visit.ended()


@in_loop
async def test_no_heartbeat_within_an_event(tmp_path):
    async with house_of(tmp_path) as home:
        go_on = asyncio.Event()

        async def halves():
            yield chunk("one")
            yield b'data: {"choices": '
            await go_on.wait()
            yield b"[]}\n\n" + DONE

        home.here.answers = [
            httpx.Response(200, headers={"content-type": "text/event-stream"}, content=halves())
        ]
        visit = home.chat()
        await visit.until(WAITING)
        go_on.set()
        await visit.ended()
        assert visit.body.replace(WAITING, b"") == chunk("one") + b'data: {"choices": []}\n\n' + DONE


@in_loop
async def test_an_answer_that_is_no_stream_has_no_heartbeat(tmp_path):
    async with house_of(tmp_path) as home:
        go_on = asyncio.Event()

        async def slow(request):
            await go_on.wait()
            return home.here.usual(request)

        home.here.answers = [slow]
        visit = home.chat(stream=False)
        await home.here.came.wait()
        await asyncio.sleep(0.1)
        assert visit.status is None
        go_on.set()
        assert (await visit.ended()).text == "here says"


@pytest.mark.parametrize("place", ["queue", "model"])
@in_loop
async def test_a_client_that_leaves_between_heartbeats_holds_nothing(tmp_path, place):
    async with house_of(tmp_path) as home:
        if place == "queue":
            first, visit = await waiting(home)
        else:
            home.here.answers = [never]
            first, visit = home.chat(), home.chat()
            await first.until(WAITING)
            first, visit = visit, first
        for one in (visit, first):
            one.leave()
            await one.ended()
        assert await home.nothing_left()


@in_loop
async def test_no_first_byte_in_time_is_504_and_the_slot_is_free(tmp_path):
    settings = {"timeouts": {"first_byte": "50ms"}}
    async with house_of(tmp_path, settings) as home:
        for stream in (True, False):
            home.here.answers = [never]
            refused = await home.answered(stream=stream)
            assert (refused.status, "no answer in time" in refused.json["error"]["message"]) == (504, True)
        assert await home.nothing_left()
        assert (await home.answered()).text == "here says"


@in_loop
async def test_an_upstream_that_is_slow_is_covered_as_well(tmp_path):
    settings = far_settings({"when": "model_missing"}) | QUICK
    async with house_of(tmp_path, settings) as home:
        go_on = asyncio.Event()

        async def slow(request):
            await go_on.wait()
            return home.far.usual(request)

        home.far.answers = [slow]
        visit = home.chat(model="else")
        await visit.until(WAITING)
        go_on.set()
        assert (await visit.ended()).text == "far says"


@pytest.mark.parametrize("client", ["openai", "responses", "anthropic", "ollama"])
@in_loop
async def test_real_clients_pass_over_heartbeats_and_raise_on_what_fails_after_them(tmp_path, client):
    async with house_of(tmp_path) as home, door(home.app) as (host, port):
        url, said = f"http://{host}:{port}", CLIENTS[client]
        home.here.answers = [slowly(ENGINES[client])]
        assert "".join([text async for text in said(url)]) == "hello"
        home.here.answers = [slowly(None)]
        with pytest.raises(Exception, match="tools need a template"):
            assert [text async for text in said(url)] == []


def slowly(pieces):
    """An answer after some heartbeats: that stream, or an error without one."""

    async def answer(_request):
        await asyncio.sleep(0.15)
        if pieces is None:
            return httpx.Response(400, json={"error": {"message": "tools need a template"}})
        return streamed(*pieces)

    return answer


async def ask_openai(url):
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="here", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        async for piece in stream:
            yield piece.choices[0].delta.content or ""


async def ask_responses(url):
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        async for piece in await client.responses.create(model="here", input="hi", stream=True):
            if piece.type == "response.output_text.delta":
                yield piece.delta


async def ask_anthropic(url):
    async with anthropic.AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as client:
        stream = await client.messages.create(
            model="here", max_tokens=9, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        async for piece in stream:
            if piece.type == "content_block_delta":
                yield piece.delta.text


async def ask_ollama(url):
    chat = await ollama.AsyncClient(url).chat(
        model="here", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    async for piece in chat:
        yield piece.message.content


def named(document):
    return b"event: " + document["type"].encode() + b"\n" + event(document)


CLIENTS = {
    "openai": ask_openai,
    "responses": ask_responses,
    "anthropic": ask_anthropic,
    "ollama": ask_ollama,
}
FINISHED = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
ENGINES = {
    "openai": [chunk("hel"), chunk("lo"), FINISHED, DONE],
    "ollama": [chunk("hel"), chunk("lo"), FINISHED, DONE],
    "responses": list(SPOKEN["/v1/responses"][1]("hello", "0" * 32, {})),
    "anthropic": [
        named(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": text},
            }
        )
        for text in ("hel", "lo")
    ],
}
