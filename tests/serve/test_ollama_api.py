"""Ollama's own Python client against the endpoints, over the real engine."""

import asyncio
import json
import os
import signal
from datetime import UTC, datetime

import httpx
import ollama
import pytest

from sixgig.server.ollama import API_VERSION
from tests.serve.ollama_server import DEMO, ollama_server, rewritten, roomy_card

HELLO = [{"role": "user", "content": "What is PEP 8?"}]
SHORT = {"num_predict": 6, "temperature": 0}
FILLS = {
    "tokenizer.chat_template": None,
    "tokenizer.ggml.fim_pre_token_id": 5,
    "tokenizer.ggml.fim_suf_token_id": 6,
    "tokenizer.ggml.fim_mid_token_id": 7,
}
THINKS = (
    "{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant"
    "{% if enable_thinking is defined and enable_thinking is false %} think not at all {% endif %}"
    "{% if reasoning_effort is defined %} {{ reasoning_effort }} effort {% endif %}{% endif %}"
)
PERSON = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "name": {"enum": ["Ada", "Bob"]}},
    "required": ["ok", "name"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    bare = rewritten(folder / "bare.gguf", FILLS)
    thinks = rewritten(folder / "thinks.gguf", {"tokenizer.chat_template": THINKS})
    cards = (
        roomy_card("demo"),
        roomy_card("vectors", pooling="mean"),
        roomy_card("bare", bare),
        roomy_card("thinks", thinks),
    )
    with ollama_server(*cards) as (url, gateway):
        yield url, gateway


@pytest.fixture(scope="module")
def url(serving):
    return serving[0]


@pytest.fixture(scope="module")
def client(url):
    with ollama.Client(url) as client:
        yield client


@pytest.fixture(scope="module")
def http(url):
    with httpx.Client(base_url=url, timeout=60) as http:
        yield http


def test_a_chat_is_answered_with_its_figures(client):
    answer = client.chat("demo", HELLO, options=SHORT)
    assert answer.message.role == "assistant"
    assert answer.message.content
    assert (answer.done, answer.done_reason, answer.eval_count) == (True, "length", 6)
    assert answer.prompt_eval_count > 5
    assert answer.total_duration >= answer.eval_duration > 0


def test_a_streamed_chat_says_the_same_in_pieces(client):
    whole = client.chat("demo", HELLO, options=SHORT).message.content
    *pieces, last = client.chat("demo", HELLO, options=SHORT, stream=True)
    assert len(pieces) > 1
    assert "".join(piece.message.content for piece in pieces) == whole
    assert not any(piece.done for piece in pieces)
    assert (last.done, last.done_reason, last.eval_count) == (True, "length", 6)


def test_the_asynchronous_client_is_served_side_by_side(url):
    async def ask(client, n):
        parts = [
            part
            async for part in await client.chat(
                "demo", HELLO, options=SHORT | {"num_predict": n}, stream=True
            )
        ]
        return parts[-1].eval_count

    async def all_of_them():
        async with ollama.AsyncClient(url) as client:
            return await asyncio.gather(*(ask(client, n) for n in (2, 3, 4)))

    assert asyncio.run(all_of_them()) == [2, 3, 4]


def test_generate_is_a_chat_of_one_turn(client):
    said = client.chat("demo", HELLO, options=SHORT).message.content
    assert client.generate("demo", "What is PEP 8?", options=SHORT).response == said
    *pieces, last = client.generate("demo", "What is PEP 8?", options=SHORT, stream=True)
    assert "".join(piece.response for piece in pieces) == said
    assert (last.response, last.done, last.context) == ("", True, None)


def test_a_raw_prompt_and_a_model_without_a_template_go_on_where_the_text_ends(client):
    raw = client.generate("demo", "Abstract", raw=True, options=SHORT).response
    assert raw == client.generate("bare", "Abstract", options=SHORT).response
    assert raw != client.generate("demo", "Abstract", options=SHORT).response


def test_a_gap_is_filled_by_a_model_that_has_the_tokens_for_it(client):
    whole = client.generate("bare", "def f():", suffix="return 1", options=SHORT)
    *pieces, last = client.generate("bare", "def f():", suffix="return 1", options=SHORT, stream=True)
    assert whole.response == "".join(piece.response for piece in pieces)
    assert last.eval_count == whole.eval_count == 6
    with pytest.raises(ollama.ResponseError, match="Infill is not supported"):
        client.generate("demo", "def f():", suffix="return 1", options=SHORT)


def test_an_answer_keeps_to_a_json_schema(client):
    # The penalties keep so small a model from spaces without end.
    options = {"num_predict": 400, "temperature": 0, "presence_penalty": 2.0, "frequency_penalty": 1.0}
    for answer in (
        client.chat("demo", HELLO, format=PERSON, options=options).message.content,
        client.generate("bare", "Abstract", format=PERSON, options=options).response,
    ):
        document = json.loads(answer)
        assert set(document) == {"ok", "name"}
        assert isinstance(document["ok"], bool)
        assert document["name"] in ("Ada", "Bob")


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called(served, stream):
    """The model never ends by itself, and what the limit cuts off is no call."""
    city = {"type": "string", "enum": ["Oslo", "Lima"]}
    parameters = {"type": "object", "properties": {"city": city}, "required": ["city"]}
    weather = {
        "type": "function",
        "function": {"name": "weather", "description": "Now.", "parameters": parameters},
    }
    options = {"temperature": 0, "num_predict": 200}
    answer = ollama.Client(served.url).chat("tools", HELLO, tools=[weather], options=options, stream=stream)
    calls = [call for piece in (answer if stream else [answer]) for call in piece.message.tool_calls or []]
    assert calls
    for call in calls:
        assert call.function.name == "weather" and call.function.arguments["city"] in ("Oslo", "Lima")


def test_tools_are_taken_by_a_model_whose_template_knows_none_and_it_answers_in_text(client):
    def weather(city: str) -> str:
        """The weather of a city.

        Args:
          city: its name
        """
        return city

    answer = client.chat("demo", HELLO, tools=[weather], options=SHORT)
    assert answer.message.content
    assert answer.message.tool_calls is None
    call = {"function": {"name": "weather", "arguments": {"city": "Köln"}}}
    told = [
        *HELLO,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "sun", "tool_name": "weather"},
    ]
    assert client.chat("demo", told, tools=[weather], options=SHORT).eval_count == 6


def test_thinking_and_its_effort_reach_the_template(client):
    def prompt_tokens(think):
        options = {"num_predict": 1}
        return client.chat("thinks", HELLO, think=think, options=options).prompt_eval_count

    thinking = prompt_tokens(True)
    assert thinking < prompt_tokens(False)
    assert thinking < prompt_tokens("low")
    assert client.show("thinks").capabilities == ["completion", "thinking"]


def test_the_probabilities_of_tokens_are_told(client):
    answer = client.chat("demo", HELLO, options=SHORT, logprobs=True, top_logprobs=2)
    assert len(answer.logprobs) == 6
    assert all(len(one.top_logprobs) == 2 and one.logprob <= 0 for one in answer.logprobs)


def test_texts_become_vectors_of_length_one(client):
    answer = client.embed("vectors", ["one", "two three"])
    assert [len(vector) for vector in answer.embeddings] == [256, 256]
    assert sum(value**2 for value in answer.embeddings[0]) == pytest.approx(1, abs=1e-3)
    assert answer.prompt_eval_count >= 3
    short = client.embed("vectors", "one", dimensions=4).embeddings[0]
    assert sum(value**2 for value in short) == pytest.approx(1)
    assert client.embed("vectors", []).embeddings == []
    assert client.embeddings("vectors", "one").embedding == answer.embeddings[0]
    assert client.embeddings("vectors", "").embedding == []


def test_a_text_that_is_too_long_is_cut_where_the_engine_ends_unless_that_is_forbidden(client):
    text = "Python " * 6000
    cut, small = client.embed("vectors", [text, "one"]).embeddings
    assert cut != small == client.embed("vectors", "one").embeddings[0]
    same = client.embed("vectors", text + "never read").embeddings[0]
    assert same == pytest.approx(cut, abs=1e-3)  # alone in its batch: other roundings
    with pytest.raises(ollama.ResponseError, match="too long") as refusal:
        client.embed("vectors", text, truncate=False)
    assert refusal.value.status_code == 400


def test_each_model_answers_what_it_is_made_for(client):
    with pytest.raises(ollama.ResponseError, match="gives no embeddings"):
        client.embed("demo", "one")
    with pytest.raises(ollama.ResponseError, match="embeddings only"):
        client.chat("vectors", HELLO)


def test_the_models_are_listed_with_what_clients_show_of_them(client):
    models = {model.model: model for model in client.list().models}
    assert set(models) == {"demo", "vectors", "bare", "thinks"}
    demo = models["demo"]
    assert demo.size == DEMO.stat().st_size
    assert demo.modified_at == datetime.fromtimestamp(DEMO.stat().st_mtime_ns // 1000 / 1e6, UTC)
    assert (demo.details.format, demo.details.family, demo.details.parameter_size) == (
        "gguf",
        "qwen35moe",
        "31.01M",
    )
    assert len({model.digest for model in models.values()}) == 4


def test_a_model_is_shown_with_the_context_that_is_served(client):
    shown = client.show("demo:latest")
    assert shown.capabilities == ["completion"]
    assert shown.modelinfo["general.architecture"] == "qwen35moe"
    assert shown.modelinfo["qwen35moe.context_length"] == 4096
    assert "im_start" in shown.template
    assert client.show("vectors").capabilities == ["embedding"]


def test_a_model_is_loaded_listed_as_running_and_sent_away(client):
    assert client.generate("demo", keep_alive="10m").done_reason == "load"
    (demo,) = (model for model in client.ps().models if model.model == "demo")
    assert demo.size >= DEMO.stat().st_size
    assert (demo.size_vram, demo.context_length) == (0, 4096)
    left_s = (demo.expires_at - datetime.now(UTC)).total_seconds()
    assert 0 < left_s <= 600
    client.chat("demo", [], keep_alive=-1)
    (demo,) = (model for model in client.ps().models if model.model == "demo")
    assert demo.expires_at.year > 2200
    assert client.chat("demo", [], keep_alive=0).done_reason == "unload"


def until_gone(client, name):
    while name in {model.model for model in client.ps().models}:
        continue


def test_keep_alive_of_nothing_sends_the_model_away_after_its_answer(client):
    assert client.chat("demo", HELLO, options=SHORT, keep_alive=0).eval_count == 6
    until_gone(client, "demo")


def test_the_time_of_loading_is_told_by_the_request_that_waited_for_it(client):
    client.generate("demo", keep_alive=0)
    until_gone(client, "demo")
    assert client.chat("demo", HELLO, options=SHORT, keep_alive=300).load_duration > 0
    assert client.chat("demo", HELLO, options=SHORT).load_duration == 0


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_not_found(client, stream):
    asks = [
        lambda: client.chat("nope", HELLO, stream=stream),
        lambda: client.generate("nope", "x", stream=stream),
        lambda: client.chat("nope", [], stream=stream),
        lambda: client.embed("nope", "x"),
        lambda: client.show("nope"),
    ]
    for ask in asks:
        with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as refusal:
            list(ask())
        assert refusal.value.status_code == 404


def test_the_tag_that_clients_append_is_no_other_model(client):
    answer = client.chat("demo:latest", HELLO, options=SHORT)
    assert answer.model == "demo:latest"


def test_a_prompt_beyond_the_context_is_refused_before_the_stream_begins(client):
    with pytest.raises(ollama.ResponseError, match="context") as refusal:
        list(client.chat("demo", [{"role": "user", "content": "Python " * 9000}], stream=True))
    assert refusal.value.status_code == 400


def test_models_are_not_changed_over_http(client, http):
    asks = [
        lambda: client.pull("demo"),
        lambda: client.push("demo"),
        lambda: client.delete("demo"),
        lambda: client.copy("demo", "other"),
        lambda: client.create("other", from_="demo"),
    ]
    for ask in asks:
        with pytest.raises(ollama.ResponseError, match="configuration") as refusal:
            ask()
        assert refusal.value.status_code == 501
    assert http.head("/api/blobs/sha256:00").status_code == 501
    assert "error" in http.get("/api/nothing").json()


def test_the_version_is_three_numbers(http):
    version = http.get("/api/version").json()["version"]
    assert version == API_VERSION
    assert len([int(number) for number in version.split(".")]) == 3


def test_what_curl_sends_without_a_content_type_is_read(http):
    body = json.dumps({"model": "demo", "prompt": "x", "options": SHORT | {"num_ctx": 8}, "stream": False})
    answer = http.post(
        "/api/generate", content=body, headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert answer.json()["done"] is True
    assert answer.headers["x-sixgig-ignored"] == "options.num_ctx"
    assert answer.headers["content-type"] == "application/json"


HOSTILE = [
    {"messages": "x"},
    {"options": {"temperature": "hot"}},
    {"options": {"repeat_penalty": 0}},
    {"options": {"num_predict": "many"}},
    {"tools": [{}]},
    {"tools": [{"type": "function", "function": []}]},
    {"format": {"type": "nonsense"}},
    {"format": {"$ref": "http://elsewhere/schema"}},
    {"format": {"type": "string", "pattern": "^[$"}},
    {"messages": [{"role": "user", "content": "x", "images": ["AAAA"]}]},
    {"keep_alive": "soon"},
    {"think": []},
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wrong", HOSTILE, ids=range(len(HOSTILE)))
def test_bad_input_is_the_clients_fault(http, wrong, stream):
    answer = http.post("/api/chat", json={"model": "demo", "messages": HELLO, "stream": stream} | wrong)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_client_that_leaves_frees_its_place(http, serving):
    _, gateway = serving
    endless = {"model": "demo", "messages": HELLO, "options": {"num_predict": 3000, "temperature": 0}}
    with http.stream("POST", "/api/chat", json=endless) as answer:
        next(answer.iter_lines())
        assert gateway.queue.running == 1
    while gateway.queue.running:
        http.get("/api/version")


def test_an_engine_that_dies_ends_the_stream_with_an_error(client, serving):
    _, gateway = serving
    answer = client.chat("demo", HELLO, options={"num_predict": 3000, "temperature": 0}, stream=True)
    assert next(answer).done is False
    os.kill(gateway.fleet.models["demo"].engine.pid, signal.SIGKILL)
    with pytest.raises(ollama.ResponseError, match="SIGKILL"):
        list(answer)
