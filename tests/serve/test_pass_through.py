"""What the engine says and hears through the gateway is what it says and hears without it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading

import httpx
import pytest
import uvicorn

from sixgig.engines import fleet
from sixgig.server.app import make_app
from tests.serve.engine_clients import ScriptedClient
from tests.serve.fake_engines import ROOM as FAKE_ROOM
from tests.serve.fake_engines import FakeEngine, card
from tests.serve.loops import in_loop
from tests.serve.ollama_server import ROOM, Serving, roomy_card
from tests.serve.served import gateway_of
from tests.tiny.models import build

JSON = {"content-type": "application/json"}
MESSAGES = [{"role": "user", "content": "What is PEP 8? Ünïcode, too: \u2603 \U0001f600"}]
GREEDY = {"temperature": 0, "cache_prompt": False, "model": "demo"}
CASES = {
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 6},
    "/v1/completions": {"prompt": "Abstract", "max_tokens": 6},
    "/v1/responses": {"input": "What is PEP 8?", "max_output_tokens": 6},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 6},
}
WRONG = [
    ("/v1/chat/completions", {"messages": 5}),
    ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": -5}),
    ("/v1/chat/completions", {"messages": MESSAGES, "stream": "yes"}),
    ("/v1/completions", {}),
    ("/v1/completions", {"prompt": "x " * 5000}),
    ("/v1/responses", {"input": 5}),
]
# What differs from one answer to the next: names, clocks, speeds.
VARIES = re.compile(
    rb'"(id|item_id|created|created_at|completed_at|system_fingerprint|\w+_ms|\w+_per_second)":\s*("[^"]*"|[\d.e+-]+)'
)


def masked(body: bytes) -> bytes:
    """Ids become numbers in order of their first use, so that what refers to one another still must."""
    seen: dict[bytes, int] = {}

    def mask(found: re.Match[bytes]) -> bytes:
        name, value = found.groups()
        number = seen.setdefault(value, len(seen)) if b"id" in name else 0
        return b'"%b":%d' % (name, number)

    return VARIES.sub(mask, body)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """(client of the gateway, function of a model's name that gives a client of its engine's own socket)."""
    vectors = build("qwen3", tmp_path_factory.mktemp("tiny") / "vectors.gguf", "Q8_0", n_layers=2)
    cards = roomy_card("demo"), roomy_card("vectors", vectors, pooling="mean")
    listening = socket.create_server(("127.0.0.1", 0))
    with gateway_of(cards, 2 * ROOM) as gateway:
        server = Serving(uvicorn.Config(make_app(gateway), log_level="error", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()

        def engine(model):
            path = gateway.fleet.models[model].engine.order.socket
            return httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://engine", timeout=60)

        try:
            assert server.started_event.wait(60)
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with httpx.Client(base_url=url, timeout=60) as client:
                client.post("/v1/completions", json={"model": "demo", "prompt": "x", "max_tokens": 1})
                client.post("/v1/embeddings", json={"model": "vectors", "input": "x"})
                yield client, engine
        finally:
            server.should_exit = True
            thread.join(60)
            listening.close()


def same(both, path, document, model="demo"):
    client, engine = both
    body = json.dumps(document).encode()
    client.post(path, content=body, headers=JSON)  # what it caches is the same for both
    through = client.post(path, content=body, headers=JSON)
    with engine(model) as direct:
        straight = direct.post(path, content=body, headers=JSON)
    assert through.status_code == straight.status_code
    assert through.headers["content-type"] == straight.headers["content-type"]
    assert masked(through.content) == masked(straight.content)
    return through


CHANGED = [("/v1/responses", True)]  # what the engine leaves out of these streams is put in
UNCHANGED = [(path, stream) for path in CASES for stream in (False, True) if (path, stream) not in CHANGED]


@pytest.mark.parametrize(("path", "stream"), UNCHANGED)
def test_an_answer_passes_unchanged(both, path, stream):
    answer = same(both, path, CASES[path] | GREEDY | {"stream": stream})
    assert answer.status_code == 200 and len(answer.content) > 100
    assert answer.headers["content-type"].startswith("text/event-stream" if stream else "application/json")


@pytest.mark.parametrize(("path", "stream"), CHANGED)
def test_a_completed_stream_is_the_engines_with_fields_put_in(both, path, stream):
    client, engine = both
    body = CASES[path] | GREEDY | {"stream": stream}
    client.post(path, json=body)
    through = client.post(path, json=body)
    with engine("demo") as direct:
        straight = direct.post(path, json=body)
    assert through.headers["content-type"] == straight.headers["content-type"]
    told, said = (_events(answer.content) for answer in (through, straight))
    assert [event["type"] for event in told] == [event["type"] for event in said]
    added = {"sequence_number", "output_index", "content_index", "logprobs", "output", "annotations"}
    for whole, bare in zip(told, said, strict=True):
        assert whole.keys() - bare.keys() <= added
        for name, value in bare.items():
            inner = whole[name].keys() - value.keys() if isinstance(value, dict) else set()
            assert inner <= added and (inner or whole[name] == value)


def _events(body):
    return [json.loads(line[6:]) for line in masked(body).split(b"\n") if line.startswith(b"data: ")]


def test_a_streams_usage_passes_unchanged(both):
    asked = {"messages": MESSAGES, "max_tokens": 6, "stream": True, "stream_options": {"include_usage": True}}
    assert b'"usage":{' in same(both, "/v1/chat/completions", asked | GREEDY).content


@pytest.mark.parametrize("form", ["float", "base64"])
def test_embeddings_pass_unchanged(both, form):
    asked = {"model": "vectors", "input": ["Hello", "Ünïcode"], "encoding_format": form}
    assert same(both, "/v1/embeddings", asked, "vectors").status_code == 200


def test_a_count_of_tokens_passes_unchanged(both):
    assert same(both, "/v1/messages/count_tokens", {"model": "demo", "messages": MESSAGES}).json()[
        "input_tokens"
    ]


@pytest.mark.parametrize(("path", "wrong"), WRONG)
def test_the_engines_complaints_pass_unchanged(both, path, wrong):
    assert same(both, path, {"model": "demo", **wrong}).status_code == 400


def test_the_mask_hides_no_more_than_names_and_clocks():
    body = b'{"id":"a","content":"id 5","n":1,"created":5,"parent_id":"b","item_id":"a","prompt_ms":1.5e-3}'
    assert (
        masked(body)
        == b'{"id":0,"content":"id 5","n":1,"created":0,"parent_id":"b","item_id":0,"prompt_ms":0}'
    )
    assert masked(b'{"id":"a","item_id":"b"}') != masked(b'{"id":"a","item_id":"a"}')


ODD_BODIES = [
    b'{ "model" :\t"demo",\r\n\n "messages":[ ] }  ',
    b'{"zeta":1,"model":"demo","alpha":{"unknown":[null,1.50,1e2,-0.0]},"prompt":""}',
    '{"model":"demo","prompt":"Ünïcode \u2603 \U0001f600"}'.encode(),
    rb'{"model":"demo","prompt":"\u00dcn\u2603 \ud83d\ude00 \u0000 \/"}',
    b'{"model":"demo","prompt":"first","prompt":"second"}',
    b'{"prompt":"the only model need not be named"}',
    b'{"model":"demo","seed":123456789012345678901234567890,"x":0.1000000000000000055511151231257827}',
]


class Recorder:
    """Stands in for an engine's server: remembers each request, answers with what it was given."""

    def __init__(self):
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        return httpx.Response(200, headers=JSON, stream=httpx.ByteStream(b'{ "odd" :1}'))


class RecordedEngine(FakeEngine):
    """A fake process whose client ends in a recorder."""

    memory, pid, recorder = None, 0, Recorder()

    def __init__(self, engines, order):
        super().__init__(engines, order)
        self.plan = {}
        self.client = ScriptedClient(self.recorder)

    async def counters(self):
        return None

    @classmethod
    async def start(cls, order, progress):
        engines = type("Engines", (), {"closing": True, "running": []})()
        engines.running.append(engine := cls(engines, order))
        return engine


@pytest.mark.parametrize("body", ODD_BODIES)
@in_loop
async def test_a_body_reaches_the_engine_byte_for_byte(monkeypatch, body):
    monkeypatch.setattr(fleet, "EngineProcess", RecordedEngine)
    RecordedEngine.recorder.requests.clear()
    with gateway_of([card("demo")], FAKE_ROOM) as gateway:
        async with gateway.running():
            transport = httpx.ASGITransport(make_app(gateway))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                headers = JSON | {"authorization": "Bearer secret", "cookie": "a=b", "x-other": "1"}
                answer = await client.post("/v1/completions?beta=true", content=body, headers=headers)
    (request,) = RecordedEngine.recorder.requests
    assert request.content == body
    assert (request.url.path, request.headers["content-type"]) == ("/v1/completions", "application/json")
    assert not {"authorization", "cookie", "x-other"} & set(request.headers)
    assert (answer.status_code, answer.content) == (200, b'{ "odd" :1}')


@in_loop
async def test_a_body_in_pieces_reaches_the_engine_whole(monkeypatch):
    monkeypatch.setattr(fleet, "EngineProcess", RecordedEngine)
    RecordedEngine.recorder.requests.clear()
    body = ODD_BODIES[0]

    async def pieces():
        for at in range(len(body)):
            yield body[at : at + 1]
            await asyncio.sleep(0)

    with gateway_of([card("demo")], FAKE_ROOM) as gateway:
        async with gateway.running():
            transport = httpx.ASGITransport(make_app(gateway))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                await client.post("/v1/completions", content=pieces(), headers=JSON)
    assert RecordedEngine.recorder.requests[0].content == body
