"""The stream helpers of OpenAI's and Anthropic's Node packages add up what a real engine says."""

import json
import subprocess
from pathlib import Path

import pytest

PATIENCE_S = 100
SCRIPT = Path(__file__).with_name("sdk_streams.mjs")
HELLO = [{"role": "user", "content": "What is PEP 8?"}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Lima"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"name": "weather", "description": "Now."}
ENDING = {"temperature": 0, "logit_bias": {"0": 100}}  # the model would go on for ever: it ends where it may
SAID = ["Yes.", "\U0001f600 a"]  # the second begins with half a character

pytestmark = pytest.mark.timeout(1200)  # the first test installs them


@pytest.fixture(scope="module")
def helped(installed, served):
    """What a helper makes of a request, or how it fails."""
    node, modules = installed

    def help_(helper, **asked):
        command = [node, SCRIPT, modules, served.url, helper, json.dumps(asked)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    return help_


@pytest.mark.parametrize("said", SAID, ids=("words", "half a character first"))
def test_a_response_is_added_up(helped, said):
    got = helped("responses", model="demo", input="hi", grammar=f'root ::= "{said}"')
    assert got["words"] == got["text"] == said
    assert got["kinds"].count("response.created") == 1 and got["kinds"][-1] == "response.completed"


def test_a_responses_call_is_added_up(helped):
    tool = {"type": "function", **TOOL, "parameters": SCHEMA}
    got = helped("responses", model="tools", input="hi", tools=[tool], tool_choice="required", **ENDING)
    (call,) = got["output"]
    assert (call["type"], call["name"]) == ("function_call", "weather")
    assert got["args"] == call["arguments"] and set(json.loads(got["args"])) == {"city"}
    assert "response.function_call_arguments.done" in got["kinds"]


@pytest.mark.parametrize("said", SAID, ids=("words", "half a character first"))
def test_a_chat_is_added_up(helped, said):
    got = helped("chat", model="demo", messages=HELLO, grammar=f'root ::= "{said}"')
    assert (got["role"], got["words"], got["text"], got["reason"]) == ("assistant", said, said, "stop")


def test_a_chats_call_is_added_up(helped):
    tool = {"type": "function", "function": TOOL | {"parameters": SCHEMA}}
    got = helped("chat", model="tools", messages=HELLO, tools=[tool], tool_choice="required", **ENDING)
    (call,) = got["calls"]
    assert call["function"]["name"] == "weather" and got["reason"] == "tool_calls"
    assert set(json.loads(call["function"]["arguments"])) == {"city"}


def test_a_message_is_added_up(helped):
    got = helped("messages", model="demo", messages=HELLO, max_tokens=5, temperature=0)
    assert got["words"] == got["content"][0]["text"] and got["reason"] == "max_tokens"


def test_a_messages_call_is_added_up(helped):
    tool, ends = TOOL | {"input_schema": SCHEMA}, {"stop_sequences": ["</tool_call>"], "max_tokens": 400}
    asked = {"messages": HELLO, "tools": [tool], "tool_choice": {"type": "any"}, "temperature": 0}
    got = helped("messages", model="tools", **asked, **ends)
    (use,) = got["content"]
    assert (use["type"], use["name"], set(use["input"]), got["reason"]) == (
        "tool_use", "weather", {"city"}, "tool_use"
    )  # fmt: skip
