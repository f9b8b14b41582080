"""Anthropic's own Python client against a running server."""

from __future__ import annotations

import asyncio
import json

import anthropic
import httpx
import pytest

from sixgig.gateway.stopping import told_in_stream, told_whole
from sixgig.inference.tokenizer import open_tokenizer
from sixgig.modelfile import open_model
from tests.serve.ollama_server import DEMO

HELLO = [{"role": "user", "content": "What is PEP 8?"}]
GREEDY_BODY = {"extra_body": {"temperature": 0}}
GREEDY = {"model": "demo", "max_tokens": 8, **GREEDY_BODY}
WEATHER = {
    "name": "weather",
    "description": "Now.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Lima"]}, "warm": {"type": "boolean"}},
        "required": ["city", "warm"],
        "additionalProperties": False,
    },
}
CALLING = {
    "model": "tools",
    "max_tokens": 120,
    "tools": [WEATHER],
    "tool_choice": {"type": "any"},
}


@pytest.fixture(scope="module")
def client(served):
    with anthropic.Anthropic(base_url=served.url, api_key="none", max_retries=0) as client:
        yield client


def ask(client, **options):
    return client.messages.create(**{"messages": HELLO, **GREEDY, **options})


def test_a_message_is_answered_with_its_usage(client):
    answer = ask(client)
    assert (answer.type, answer.role, answer.model, answer.stop_reason) == (
        "message",
        "assistant",
        "demo",
        "max_tokens",
    )
    assert answer.content[0].type == "text" and answer.content[0].text
    with open_tokenizer(open_model(DEMO)) as tokenizer:
        prompt = tokenizer.vocabulary.tokenize(tokenizer.template.render(HELLO))
    usage = answer.usage
    assert usage.input_tokens + (usage.cache_read_input_tokens or 0) == len(prompt)
    assert usage.output_tokens == 8


def test_a_stop_sequence_is_the_reason_and_is_named(client):
    said = ask(client, max_tokens=30).content[0].text
    stop = said.rstrip()[8:11]
    for stops in ([stop], ["nowhere to be found", stop]):
        answer = ask(client, max_tokens=30, stop_sequences=stops)
        assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", stop)
        assert stop not in answer.content[0].text and said.startswith(answer.content[0].text)
        with client.messages.stream(
            messages=HELLO, **GREEDY | {"max_tokens": 30, "stop_sequences": stops}
        ) as stream:
            final = stream.get_final_message()
        assert (final.stop_reason, final.stop_sequence) == ("stop_sequence", stop)
        assert final.content[0].text == answer.content[0].text
    unmet = ask(client, stop_sequences=["nowhere to be found"])
    assert (unmet.stop_reason, unmet.stop_sequence) == ("max_tokens", None)


@pytest.mark.parametrize(
    ("reason", "word", "told"),
    [
        ("end_turn", '"END"', ("stop_sequence", "END")),
        ("end_turn", '"<|im_end|>"', ("end_turn", None)),  # the template's own
        ("tool_use", '"END"', ("tool_use", "END")),
        ("end_turn", "null", ("end_turn", None)),
    ],
)
def test_only_what_was_asked_for_is_a_stop_sequence(reason, word, told):
    text = r'{"type":"text","text":"\"stop_reason\":\"end_turn\",\"stop_sequence\":\"END\" é"}'
    ending = f'"stop_reason":"{reason}","stop_sequence":{word}'
    whole = f'{{"content":[{text}],{ending}}}'.encode()
    events = (
        f'event: content_block_delta\ndata: {{"delta":{text}}}\n\n'
        f'event: message_delta\ndata: {{"type":"message_delta","delta":{{{ending}}}}}\n\n'
        'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    ).encode()

    async def read(change, body):
        async def pieces():
            for place in range(0, len(body), 7):
                yield body[place : place + 7]

        return b"".join([piece async for piece in change(pieces(), ["END"])])

    found = asyncio.run(read(told_whole, whole))
    assert (json.loads(found)["stop_reason"], json.loads(found)["stop_sequence"]) == told
    stream = asyncio.run(read(told_in_stream, events))
    before, after = events.split(b"event: message_delta")[0], b"event: message_stop"
    assert stream.startswith(before) and stream.count(after) == 1
    delta = json.loads(stream.split(b"event: message_delta\ndata: ")[1].split(b"\n")[0])["delta"]
    assert (delta["stop_reason"], delta["stop_sequence"]) == told


def test_content_in_blocks_is_the_same_as_text(client):
    blocks = [{"role": "user", "content": [{"type": "text", "text": HELLO[0]["content"]}]}]
    assert ask(client, messages=blocks).content[0].text == ask(client).content[0].text


def test_a_streamed_message_says_the_same_in_pieces(client):
    whole = ask(client).content[0].text
    with client.messages.stream(messages=HELLO, **GREEDY) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 3 and "".join(pieces) == whole == final.content[0].text
    assert (final.stop_reason, final.usage.output_tokens) == ("max_tokens", 8)


def test_a_stream_is_the_documented_sequence_of_events(client):
    kinds = [event.type for event in ask(client, stream=True)]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) <= {"content_block_delta", "ping"}


def test_the_asynchronous_client_streams_too(served):
    async def streamed():
        async with (
            anthropic.AsyncAnthropic(base_url=served.url, api_key="none") as client,
            client.messages.stream(messages=HELLO, **GREEDY) as stream,
        ):
            return "".join([text async for text in stream.text_stream])

    assert asyncio.run(streamed())


def test_a_tool_is_called(client):
    answer = ask(client, **CALLING)
    use = next(block for block in answer.content if block.type == "tool_use")
    assert use.name == "weather" and use.input["city"] in ("Oslo", "Lima")
    assert use.input["warm"] in (True, False)
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "8 degrees"}
    turns = [*HELLO, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    told = ask(client, model="tools", tools=[WEATHER], messages=turns)
    reused = told.usage.cache_read_input_tokens or 0  # by the earlier turn, left out of input_tokens
    assert told.usage.input_tokens + reused > answer.usage.input_tokens


def test_a_streamed_tool_call_adds_up_to_the_whole_one(client):
    whole = ask(client, **CALLING).content[0]
    with client.messages.stream(messages=HELLO, **CALLING | GREEDY_BODY) as stream:
        final = next(block for block in stream.get_final_message().content if block.type == "tool_use")
    assert (final.name, final.input) == (whole.name, whole.input)


def test_an_answer_that_ends_in_a_call_says_so(client):
    """The model would go on for ever: here it ends after its first call."""
    ending = CALLING | {"max_tokens": 400, "stop_sequences": ["</tool_call>"]}
    whole = ask(client, **ending)
    with client.messages.stream(messages=HELLO, **ending, **GREEDY_BODY) as stream:
        streamed = stream.get_final_message()
    for answer in (whole, streamed):
        assert answer.stop_reason == "tool_use"
        (use,) = answer.content
        assert (use.type, use.name, set(use.input)) == ("tool_use", "weather", {"city", "warm"})


def test_a_system_prompt_is_read(client):
    def count(**system):
        return client.messages.count_tokens(model="demo", messages=HELLO, **system).input_tokens

    assert count() < count(system="Be brief.") == count(system=[{"type": "text", "text": "Be brief."}])


def test_tokens_are_counted_as_they_are_charged(client):
    usage = ask(client, system="Be brief.").usage
    counted = client.messages.count_tokens(model="demo", messages=HELLO, system="Be brief.").input_tokens
    assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_an_answer_ends_before_a_stop_sequence(client):
    whole = ask(client).content[0].text
    answer = ask(client, stop_sequences=[whole[-4:]])
    assert answer.stop_sequence == whole[-4:]
    assert answer.content[0].text == whole[: whole.index(whole[-4:])]


def test_max_tokens_bounds_the_answer(client):
    assert ask(client, max_tokens=3).usage.output_tokens == 3


def test_the_beta_client_with_its_query_is_served(client, served):
    answer = client.beta.messages.create(messages=HELLO, betas=["some-feature"], **GREEDY)
    assert answer.content[0].text == ask(client).content[0].text
    raw = httpx.post(
        f"{served.url}/v1/messages?beta=true", json={"model": "demo", "messages": HELLO, "max_tokens": 2}
    )
    assert raw.status_code == 200


def test_the_models_are_listed(client):
    assert "demo" in {model.id for model in client.models.list()}
    assert client.models.retrieve("demo").display_name == "demo"


def test_an_unknown_model_is_not_found_and_the_message_helps(client):
    with pytest.raises(anthropic.NotFoundError, match=r"/v1/models|demo") as caught:
        ask(client, model="claude-9")
    assert caught.value.body["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    "wrong",
    [{"max_tokens": -5}, {"model": 5}, {"messages": [{"role": "user", "content": 5}]}],
    ids=("max_tokens", "model", "content"),
)
def test_a_bad_parameter_is_a_bad_request(client, wrong):
    with pytest.raises(anthropic.BadRequestError):
        ask(client, **wrong)


def test_what_is_missing_is_named(served):
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        answer = httpx.post(served.url + path, json={"model": "demo", "max_tokens": 3})
        assert answer.status_code == 400
        assert answer.json()["type"] == "error" and "messages" in answer.json()["error"]["message"]


def test_every_answer_tells_who_gave_it_and_its_number(client):
    raw = client.messages.with_raw_response.create(messages=HELLO, **GREEDY)
    assert raw.headers["x-served-by"] == "local" and len(raw.headers["x-request-id"]) == 24
