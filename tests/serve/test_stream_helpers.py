"""The helpers of OpenAI's own Python client that add a stream up, against a running server."""

from __future__ import annotations

import json

import pytest

from tests.serve.test_conformance_openai import CALLING, END, GREEDY, HELLO, WEATHER, client

__all__ = ["client"]  # a fixture

EMOJI = {"grammar": 'root ::= "\U0001f600 a"'}  # its first token is half a character


@pytest.mark.parametrize("more", [{}, {"extra_body": EMOJI}], ids=("words", "half a character first"))
def test_the_helper_for_streamed_responses_adds_them_up(client, more):
    asked = {"model": "demo", "input": "What is PEP 8?", "temperature": 0, "max_output_tokens": 8, **more}
    with client.responses.stream(**asked) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds.count("response.created") == kinds.count("response.output_item.added") == 1
    pieces = [event for event in events if event.type == "response.output_text.delta"]
    assert "".join(piece.delta for piece in pieces) == pieces[-1].snapshot == final.output_text
    assert final.output_text == client.responses.create(**asked).output_text
    assert final.usage.output_tokens <= 8


def test_the_helper_for_streamed_responses_adds_a_call_up(client):
    tool = {"type": "function", **WEATHER["function"]}
    asked = {"model": "tools", "input": "Is it warm?", "tools": [tool], "tool_choice": "required"}
    ending = {"temperature": 0, "max_output_tokens": 400, "extra_body": {"logit_bias": {END: 100}}}
    with client.responses.stream(**asked, **ending) as stream:
        events = list(stream)
        (call,) = stream.get_final_response().output
    pieces = [event for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(piece.delta for piece in pieces) == pieces[-1].snapshot == call.arguments
    assert (call.type, call.name, set(json.loads(call.arguments))) == (
        "function_call",
        "weather",
        {"city", "warm"},
    )
    (done,) = (event for event in events if event.type == "response.function_call_arguments.done")
    assert done.arguments == call.arguments
    turns = [{"role": "user", "content": "Is it warm?"}, call]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "8 degrees"}
    told = client.responses.create(model="tools", input=[*turns, result], tools=[tool], max_output_tokens=2)
    assert told.usage.output_tokens == 2


@pytest.mark.parametrize("said", ["Yes.", "\U0001f600 a"], ids=("words", "half a character first"))
def test_the_helper_for_streamed_chats_adds_them_up(client, said):
    more = {"extra_body": {"grammar": f'root ::= "{said}"'}}
    with client.chat.completions.stream(messages=HELLO, **GREEDY, **more) as stream:
        pieces = [event.delta for event in stream if event.type == "content.delta"]
        message = stream.get_final_completion().choices[0].message
    assert message.role == "assistant"
    assert "".join(pieces) == message.content == said


def test_the_helper_for_streamed_chats_adds_a_call_up(client):
    ending = CALLING | {"max_tokens": 400, "logit_bias": {END: 100}}
    with client.chat.completions.stream(messages=HELLO, **ending) as stream:
        list(stream)
        (choice,) = stream.get_final_completion().choices
    assert choice.finish_reason == "tool_calls"
    assert set(json.loads(choice.message.tool_calls[0].function.arguments)) == {"city", "warm"}
