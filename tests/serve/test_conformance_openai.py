"""OpenAI's own Python client against a running server."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from enum import Enum
from typing import Literal

import httpx
import openai
import pytest
from pydantic import BaseModel

from sixgig.inference.tokenizer import open_tokenizer
from sixgig.modelfile import open_model
from sixgig.server.keys import new_key
from tests.serve.ollama_server import DEMO
from tests.serve.served import sixgig_serve

HELLO = [{"role": "user", "content": "What is PEP 8?"}]
END = "0"  # <|endoftext|> of the demo model
GREEDY = {"model": "demo", "temperature": 0, "max_tokens": 8}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Lima"]}, "warm": {"type": "boolean"}},
    "required": ["city", "warm"],
    "additionalProperties": False,
}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Now.", "parameters": SCHEMA}}
CALLING = {
    "model": "tools",
    "temperature": 0,
    "max_tokens": 120,
    "tools": [WEATHER],
    "tool_choice": "required",
}


class City(Enum):
    OSLO = "Oslo"
    LIMA = "Lima"


class Weather(BaseModel):
    city: City
    warm: bool
    kind: Literal["rain", "sun"]


@pytest.fixture(scope="module")
def client(served):
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def tokenizer():
    with open_tokenizer(open_model(DEMO)) as tokenizer:
        yield tokenizer


def chat(client, **options):
    return client.chat.completions.create(**{"messages": HELLO, **GREEDY, **options})


def test_a_chat_is_answered_and_its_tokens_are_the_tokenizers(client, tokenizer):
    answer = chat(client)
    (choice,) = answer.choices
    assert (choice.message.role, choice.finish_reason, answer.model) == ("assistant", "length", "demo")
    prompt = tokenizer.vocabulary.tokenize(tokenizer.template.render(HELLO))
    assert answer.usage.prompt_tokens == len(prompt)
    assert answer.usage.completion_tokens == 8 == len(tokenizer.vocabulary.tokenize(choice.message.content))
    assert answer.usage.total_tokens == len(prompt) + 8


def test_a_streamed_chat_says_the_same_in_pieces_and_counts_at_its_end_if_asked(client):
    whole = chat(client)
    *pieces, last = chat(client, stream=True, stream_options={"include_usage": True})
    assert (
        "".join(piece.choices[0].delta.content or "" for piece in pieces) == whole.choices[0].message.content
    )
    assert len(pieces) > 3 and pieces[-1].choices[0].finish_reason == "length"
    assert last.choices == []
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert last.usage.prompt_tokens == whole.usage.prompt_tokens


def test_a_stream_says_nothing_of_usage_unless_asked(client):
    assert all(piece.usage is None for piece in chat(client, stream=True))


def test_many_asynchronous_chats_each_get_their_own_answer(served):
    async def ask(client, n):
        return [part async for part in await chat(client, max_tokens=n, stream=True)]

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none") as client:
            streams = await asyncio.gather(*(ask(client, n) for n in (3, 4, 5)))
            whole = await chat(client)
        return streams, whole

    streams, whole = asyncio.run(all_of_them())
    texts = ["".join(part.choices[0].delta.content or "" for part in stream) for stream in streams]
    assert all(whole.choices[0].message.content.startswith(text) and text for text in texts)
    assert len({stream[0].id for stream in streams}) == 3


def test_a_completion_goes_on_where_the_prompt_ends(client, tokenizer):
    answer = client.completions.create(**GREEDY, prompt="Abstract")
    assert answer.usage.prompt_tokens == len(tokenizer.vocabulary.tokenize("Abstract"))
    pieces = list(client.completions.create(**GREEDY, prompt="Abstract", stream=True))
    assert "".join(piece.choices[0].text for piece in pieces) == answer.choices[0].text
    both = client.completions.create(**GREEDY, prompt=["Abstract", "Rationale"])
    assert [choice.index for choice in both.choices] == [0, 1]
    assert both.choices[0].text == answer.choices[0].text


def test_an_answer_keeps_to_a_json_schema(client):
    form = {"type": "json_schema", "json_schema": {"name": "weather", "strict": True, "schema": SCHEMA}}
    document = json.loads(chat(client, response_format=form, max_tokens=400).choices[0].message.content)
    assert document["city"] in ("Oslo", "Lima") and document["warm"] in (True, False) and len(document) == 2


def test_an_answer_is_parsed_into_a_pydantic_model(client):
    options = GREEDY | {"max_tokens": 400}
    answer = client.chat.completions.parse(messages=HELLO, response_format=Weather, **options)
    assert isinstance(answer.choices[0].message.parsed, Weather)


def test_a_tool_that_must_be_called_is_called(client):
    answer = chat(client, **CALLING)
    call = answer.choices[0].message.tool_calls[0]
    assert (call.type, call.function.name) == ("function", "weather")
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"city", "warm"} and arguments["city"] in ("Oslo", "Lima")
    called = {"role": "assistant", "tool_calls": [call]}
    turns = [*HELLO, called, {"role": "tool", "tool_call_id": call.id, "content": "8 degrees"}]
    told = chat(client, model="tools", tools=[WEATHER], messages=turns)
    assert told.usage.prompt_tokens > answer.usage.prompt_tokens


def test_an_answer_that_ends_in_a_call_says_so(client):
    """The model would go on for ever: here it ends as soon as the grammar lets it."""
    ending = CALLING | {"max_tokens": 400, "logit_bias": {END: 100}}
    (whole,) = chat(client, **ending).choices
    *_, last = chat(client, **ending, stream=True)
    assert (whole.finish_reason, len(whole.message.tool_calls)) == ("tool_calls", 1)
    assert last.choices[0].finish_reason == "tool_calls"


def test_a_streamed_tool_call_adds_up_to_the_whole_one(client):
    whole = chat(client, **CALLING).choices[0].message.tool_calls
    parts: dict[int, list[str]] = {}
    for piece in chat(client, **CALLING, stream=True):
        for call in piece.choices[0].delta.tool_calls or []:
            parts.setdefault(call.index, []).extend([call.function.name or "", call.function.arguments or ""])
    assert ["".join(texts) for texts in parts.values()] == [
        call.function.name + call.function.arguments for call in whole
    ]


def test_log_probabilities_are_those_of_the_tokens_said(client):
    answer = chat(client, logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content
    assert all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in tokens)
    assert all(token.token == token.top_logprobs[0].token for token in tokens), "greedy says the likeliest"


def test_several_answers_at_once(client):
    answer = chat(client, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert {choice.message.content for choice in answer.choices} == {chat(client).choices[0].message.content}


def test_an_answer_ends_before_a_stop_text(client):
    whole = chat(client).choices[0].message.content
    stop = whole[-4:]
    answer = chat(client, stop=[stop]).choices[0]
    assert answer.finish_reason == "stop"
    assert answer.message.content == whole[: whole.index(stop)]


def test_a_seed_makes_a_sampled_answer_repeatable(client):
    def said(seed):
        return chat(client, temperature=2.0, seed=seed, max_tokens=16).choices[0].message.content

    assert said(1) == said(1)
    assert said(1) != said(2)


def test_embeddings_are_the_same_as_numbers_and_packed(client, served):
    texts = ["Hello", "world"]
    numbers = client.embeddings.create(model="embedder", input=texts, encoding_format="float")
    assert [item.index for item in numbers.data] == [0, 1]
    assert numbers.usage.prompt_tokens > 0
    raw = httpx.post(
        f"{served.url}/v1/embeddings", json={"model": "embedder", "input": texts, "encoding_format": "base64"}
    ).json()
    for item, packed in zip(numbers.data, raw["data"], strict=True):
        bytes_ = base64.b64decode(packed["embedding"])
        assert struct.unpack(f"<{len(bytes_) // 4}f", bytes_) == pytest.approx(item.embedding, rel=1e-6)
        assert sum(x * x for x in item.embedding) == pytest.approx(1.0, rel=1e-4)
    packed = client.embeddings.create(model="embedder", input=texts)  # the client itself asks for base64
    assert packed.data[0].embedding == pytest.approx(numbers.data[0].embedding, rel=1e-6)


def test_the_models_are_listed_and_told_one_by_one(client):
    assert {model.id for model in client.models.list()} == {"demo", "embedder", "tools", "single"}
    model = client.models.retrieve("demo")
    assert (model.id, model.object) == ("demo", "model") and model.created > 0
    with pytest.raises(openai.NotFoundError, match="/v1/models"):
        client.models.retrieve("nobody")


def test_a_response_has_text_and_usage(client):
    answer = client.responses.create(model="demo", input="What is PEP 8?", temperature=0, max_output_tokens=8)
    assert answer.output_text and answer.usage.output_tokens == 8
    told = client.responses.create(
        model="demo", input=HELLO, instructions="Be brief.", temperature=0, max_output_tokens=8
    )
    assert told.usage.input_tokens > answer.usage.input_tokens


def test_a_streamed_response_comes_in_typed_events(client):
    asked = {"model": "demo", "input": "What is PEP 8?", "temperature": 0, "max_output_tokens": 8}
    events = list(client.responses.create(**asked, stream=True))
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == events[-1].response.output_text == client.responses.create(**asked).output_text


def test_an_unknown_model_is_not_found_and_the_message_helps(client):
    for ask in (
        lambda: chat(client, model="gpt-9"),
        lambda: client.responses.create(model="gpt-9", input="x"),
        lambda: client.embeddings.create(model="gpt-9", input="x"),
        lambda: client.completions.create(model="gpt-9", prompt="x"),
    ):
        with pytest.raises(openai.NotFoundError, match=r"/v1/models|demo"):
            ask()


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": "hot"},
        {"max_tokens": -5},
        {"messages": "hello"},
        {"tools": [{}]},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}}},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"model": 5},
        {"extra_body": {"repeat_last_n": 1 << 30}},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_bad_parameter_is_a_bad_request_with_a_reason(client, wrong):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, **wrong)
    assert len(caught.value.body["message"]) > 10


def test_more_texts_than_memory_is_set_aside_for_are_refused(client):
    with pytest.raises(openai.BadRequestError, match="2048"):
        client.embeddings.create(model="embedder", input=["x"] * 2049)


def test_a_text_longer_than_an_embedders_batch_is_a_bad_request(client):
    with pytest.raises(openai.BadRequestError, match="too large"):
        client.embeddings.create(model="embedder", input="x" * 520)


def test_a_model_that_does_not_embed_says_so(client):
    with pytest.raises(openai.BadRequestError, match="embeddings"):
        client.embeddings.create(model="demo", input="x")


def test_every_answer_tells_who_gave_it_and_its_number(client):
    raw = client.chat.completions.with_raw_response.create(messages=HELLO, **GREEDY)
    assert raw.headers["x-served-by"] == "local" and len(raw.headers["x-request-id"]) == 24
    assert raw.parse()._request_id == raw.headers["x-request-id"]
    streamed = client.chat.completions.with_raw_response.create(messages=HELLO, stream=True, **GREEDY)
    assert streamed.headers["x-request-id"] != raw.headers["x-request-id"]
    list(streamed.parse())


def test_closing_a_stream_frees_its_slot_at_once(client, served):
    """With one slot the next answer can only come when the slot is free, or when the first has ended."""
    long = chat(client, model="single", stream=True, max_tokens=1900, extra_body={"ignore_eos": True})
    next(iter(long))
    long.close()
    after = chat(client, model="single", max_tokens=1, messages=[{"role": "user", "content": "Next?"}])
    assert after.usage.completion_tokens == 1

    def cancelled(status: dict) -> int:
        (model,) = (one for one in status["models"] if one["name"] == "single")
        return model["requests"].get("cancelled", 0)

    status = served.until(lambda status: cancelled(status) > 0)
    assert cancelled(status) == 1
    assert status["queue"]["waiting"] == 0


def test_a_client_that_leaves_while_it_waits_leaves_the_line(client, served):
    async def two():
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as mine:
            first = await chat(
                mine, model="single", stream=True, max_tokens=1900, extra_body={"ignore_eos": True}
            )
            await anext(aiter(first))
            waiting = asyncio.create_task(chat(mine, model="single", max_tokens=1900))
            await asyncio.to_thread(served.until, lambda status: status["queue"]["waiting"] == 1)
            waiting.cancel()
            await asyncio.to_thread(served.until, lambda status: status["queue"]["waiting"] == 0)
            running = served.status()["queue"]["running"]
            await first.close()
            return running

    assert asyncio.run(two()) == 1
    _idle(served, "single")


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A server that asks for a key, and that key."""
    secret, digest = new_key()
    configuration = f"""
[server]
ram = "1G"
[[keys]]
name = "alice"
sha256 = "{digest}"
[models.demo]
path = "{DEMO}"
"""
    with sixgig_serve(tmp_path_factory.mktemp("locked"), configuration) as server:
        yield server, secret


def test_a_key_is_asked_for_where_keys_are_configured(locked):
    server, secret = locked
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=secret, max_retries=0) as good:
        assert [model.id for model in good.models.list()] == ["demo"]
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sg-wrong", max_retries=0) as bad:
        for ask in (bad.models.list, lambda: chat(bad)):
            with pytest.raises(openai.AuthenticationError, match="not known"):
                ask()
    assert not any(secret in line for line in server.log)


def _idle(served, model):
    """The status once nothing of the model's runs."""
    return served.until(
        lambda status: all(one["users"] == 0 for one in status["models"] if one["name"] == model)
    )
