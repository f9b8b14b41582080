"""Tokens are counted as they were read and written: of several answers, and of those that were cut short."""

import asyncio
import json

import httpx
import pytest

from sixgig.gateway.call import Call
from sixgig.gateway.choices import Several
from tests.serve.gateways import CHATS, DONE, chunk, event, far_settings, house, streamed
from tests.serve.ledger_rows import rows
from tests.serve.loops import in_loop
from tests.serve.ollama_server import DEMO
from tests.serve.served import sixgig_serve

HELLO = {"messages": [{"role": "user", "content": "What is PEP 8?"}], "temperature": 0, "max_tokens": 5}
TEXTS = {"prompt": ["Hello there", "A longer prompt than that"], "temperature": 0, "max_tokens": 5}
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(a client, the ledger) of a server with four slots."""
    folder = tmp_path_factory.mktemp("counts")
    with (
        sixgig_serve(
            folder, f'[server]\nram = "1G"\n[models.demo]\npath = {json.dumps(str(DEMO))}\n'
        ) as served,
        httpx.Client(base_url=served.url, timeout=60) as client,
    ):
        yield client, folder / "data" / "sixgig" / "ledger.sqlite"


def put_down(server, answer):
    """(prompt, cached, completion) tokens of an answer's line."""
    client, ledger = server
    assert client.get(f"/requests/{answer.headers['x-request-id']}").status_code == 200
    while True:
        for id, *counts in rows(ledger, columns="id, prompt_tokens, cached_tokens, completion_tokens"):
            if id == answer.headers["x-request-id"]:
                return tuple(counts)


def usages(answer):
    told = [json.loads(line[6:]) for line in answer.text.split("\n") if line.startswith("data: {")]
    return [document["usage"] for document in told if document.get("usage")]


@pytest.mark.parametrize(
    ("path", "body", "answers"),
    [
        (CHAT, HELLO | {"n": 2}, 2),
        (CHAT, HELLO | {"n_cmpl": 3, "n": 1}, 3),
        (COMPLETIONS, TEXTS, 2),
        (COMPLETIONS, TEXTS | {"n": 2}, 4),
        (CHAT, HELLO | {"n": 2, "logprobs": True, "top_logprobs": 2}, 2),
    ],
)
def test_all_answers_to_a_request_are_counted_streamed_or_whole(server, path, body, answers):
    client, _ = server
    each = body.get("n_cmpl") or body.get("n", 1)
    one = {name: value for name, value in body.items() if name not in ("n", "n_cmpl")}
    prompts = body.get("prompt", [None])
    alone = [client.post(path, json=one | ({} if p is None else {"prompt": p})).json() for p in prompts]
    read = sum(document["usage"]["prompt_tokens"] for document in alone)
    written = each * sum(document["usage"]["completion_tokens"] for document in alone)

    whole = client.post(path, json=body)
    document = whole.json()
    assert len(document["choices"]) == answers
    assert document["usage"]["prompt_tokens"] == read and document["usage"]["completion_tokens"] == written
    assert document["usage"]["total_tokens"] == read + written
    assert (put_down(server, whole)[0], put_down(server, whole)[2]) == (read, written)
    assert document.keys() == alone[0].keys() and document["object"] == alone[0]["object"]
    for place, choice in enumerate(document["choices"]):  # as the engine gives each of them alone
        expected = alone[place // each]["choices"][0] | {"index": place}
        assert choice.keys() == expected.keys()
        assert choice | {"logprobs": None} == expected | {"logprobs": None}
        if expected.get("logprobs"):
            assert [token["token"] for token in choice["logprobs"]["content"]] == [
                token["token"] for token in expected["logprobs"]["content"]
            ]

    for options in ({"stream_options": {"include_usage": True}}, {}):
        stream = client.post(path, json=body | {"stream": True} | options)
        assert (put_down(server, stream)[0], put_down(server, stream)[2]) == (read, written)
        assert stream.text.rstrip().endswith("data: [DONE]") and "data: null" not in stream.text
        if options:
            last = usages(stream)[-1]
            assert (last["prompt_tokens"], last["completion_tokens"]) == (read, written)


def test_several_answers_that_the_engine_refuses_are_refused_in_its_words(server):
    client, _ = server
    answer = client.post(CHAT, json=HELLO | {"n": 100})
    assert answer.status_code == 400 and "n" in answer.json()["error"]["message"]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    assert client.post(CHAT, json=HELLO | {"n": 2, "logprobs": True, "tools": tools}).status_code == 400


STREAMS = {
    CHAT: HELLO,
    COMPLETIONS: {"prompt": "Abstract", "temperature": 0},
    "/v1/messages": HELLO,
    "/v1/responses": {"input": "What is PEP 8?", "temperature": 0},
    "/api/chat": {"messages": HELLO["messages"], "options": {"temperature": 0}},
    "/api/generate": {"prompt": "What is PEP 8?", "options": {"temperature": 0}},
}


@pytest.mark.parametrize("path", STREAMS)
def test_a_stream_that_its_client_leaves_is_counted_as_far_as_it_came(server, path):
    client, _ = server
    body = STREAMS[path] | {"model": "demo", "max_tokens": 3000, "max_output_tokens": 3000, "stream": True}
    if path.startswith("/api/"):
        body["options"] = body["options"] | {"num_predict": 3000}
    with client.stream("POST", path, json=body) as stream:
        said = b""
        for piece in stream.iter_raw():
            said += piece
            if said.count(b"\n") > 60:
                break
    prompt, _, written = put_down(server, stream)
    short = {"max_tokens": 1, "max_output_tokens": 1, "stream": False}
    if path.startswith("/api/"):
        whole = client.post(path, json=body | {"stream": False, "options": {"num_predict": 1}}).json()
        assert prompt == whole["prompt_eval_count"]
    else:
        usage = client.post(path, json=body | short).json()["usage"]
        whole = usage.get("prompt_tokens", usage.get("input_tokens"))
        assert prompt == whole + usage.get("cache_read_input_tokens", 0)
    events = said.count(b"\n") // (1 if path.startswith("/api/") else 3)
    assert events - 8 <= written < 3000


@pytest.mark.parametrize("api", list(CHATS))
@in_loop
async def test_what_never_came_to_an_engine_read_and_wrote_nothing(tmp_path, api):
    async with house(tmp_path) as home:
        home.engines.may_load.clear()
        visit = home.chat(api)
        await home.engines.loading.wait()
        visit.leave()
        await visit.ended()
        assert await home.nothing_left()
        assert await home.written("outcome, prompt_tokens, completion_tokens", 1) == [("cancelled", 0, 0)]


def broken_stream(_request):
    return streamed(*(chunk(text) for text in "abc"), httpx.ReadError("cut"))


@in_loop
async def test_a_stream_that_breaks_is_counted_as_far_as_it_came(tmp_path):
    async with house(tmp_path) as home:
        home.here.answers = [broken_stream]
        await home.answered()
        assert await home.written("outcome, prompt_tokens, completion_tokens", 1) == [("failed", 3, 3)]


@in_loop
async def test_an_upstreams_stream_that_is_left_is_counted_and_costs_its_worst_case(tmp_path):
    async with house(tmp_path, far_settings({"when": "model_missing"})) as home:
        home.far.answers = [lambda _request: streamed(chunk("a"), chunk("b"), None)]
        visit = home.chat(model="elsewhere")
        await visit.until(b'"b"')
        visit.leave()
        await visit.ended()
        assert await home.nothing_left()
        found = await home.written("outcome, prompt_tokens, completion_tokens, upstream_cost_micros", 1)
        ((_, worst),) = home.reservations
        assert found == [("cancelled", None, 2, worst)]


@in_loop
async def test_where_the_prompt_cannot_be_counted_in_time_the_line_is_written_without(tmp_path, monkeypatch):
    from sixgig.gateway import record

    monkeypatch.setattr(record, "COUNTING_S", 0.01)
    async with house(tmp_path) as home:
        home.here.go_on.clear()
        visit = home.chat()
        await visit.until(b"data: ")
        home.engines.running[0].client = httpx.AsyncClient(
            transport=httpx.MockTransport(lambda _request: asyncio.sleep(60)), base_url="http://engine"
        )
        visit.leave()
        await visit.ended()
        assert await home.nothing_left()
        assert await home.written("outcome, prompt_tokens, completion_tokens", 1) == [("cancelled", None, 1)]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (CHAT, {"n": 2}, (2, 1)),
        (CHAT, {"n": 1}, None),
        (CHAT, {"n": None}, None),
        (CHAT, {"n": "2"}, None),
        (CHAT, {"messages": [{"content": '"n": 2'}]}, None),
        (COMPLETIONS, {"prompt": "a"}, None),
        (COMPLETIONS, {"prompt": [1, 2]}, None),
        (COMPLETIONS, {"prompt": ["a", 2]}, None),
        (COMPLETIONS, {"prompt": ["a"]}, None),
        (COMPLETIONS, {"prompt": ["a", [1, 2]], "n": 2}, (2, 2)),
        ("/v1/embeddings", {"input": ["a", "b"]}, None),
    ],
)
def test_how_many_answers_are_asked_for(path, body, expected):
    found = Several.of(Call("openai", path, json.dumps(body).encode(), "m", stream=False))
    assert (None if found is None else (found.answers, found.prompts)) == expected


@in_loop
async def test_several_answers_of_which_one_has_no_end_are_an_error(tmp_path):
    async with house(tmp_path) as home:
        ended = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        home.here.answers = [lambda _request: streamed(chunk("a"), event(ended), DONE)]
        visit = await home.answered(stream=False, n=2)
        assert visit.status == 503 and b"no end" in visit.body
