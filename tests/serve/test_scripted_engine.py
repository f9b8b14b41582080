"""The scripted engine says what the real one says: the same events with the same fields in the same order."""

import httpx
import pytest

from tests.serve.scripted_engine import SPOKEN, ToolCall
from tests.serve.test_completing import completed, events

SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Lima"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"name": "weather", "description": "Now."}
FUNCTION = TOOL | {"parameters": SCHEMA}
ASKED = {
    "/v1/chat/completions": (
        {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 400, "logit_bias": {"0": 100}},
        {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "required"},
    ),
    "/v1/messages": (
        {
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": 400,
            "stop_sequences": ["</tool_call>", "."],
        },
        {"tools": [TOOL | {"input_schema": SCHEMA}], "tool_choice": {"type": "any"}},
    ),
    "/v1/responses": (
        {"input": "hello", "max_output_tokens": 400, "stop": ["."], "logit_bias": {"0": 100}},
        {"tools": [{"type": "function", **FUNCTION}], "tool_choice": "required"},
    ),
}
STEPS = {"words": "Hello there", "call": ToolCall("weather", {"city": "Oslo"})}
UNTOLD = {"timings", "stop_sequence"}  # no protocol's; what the real one had to be stopped by


def shape(document):
    """Names and kinds of values, without the values."""
    if isinstance(document, dict):
        return {name: shape(value) for name, value in document.items() if name not in UNTOLD}
    return [shape(part) for part in document] if isinstance(document, list) else type(document).__name__


def without_repeats(shapes):
    """Pieces of a text or of arguments are as many as there are tokens."""
    return [one for n, one in enumerate(shapes) if n == 0 or one != shapes[n - 1]]


@pytest.mark.parametrize("stream", [False, True], ids=("whole", "streamed"))
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("path", ASKED)
def test_it_says_what_the_real_one_says(served, path, step, stream):
    body, tools = ASKED[path]
    asked = {
        "model": "tools",
        "temperature": 0,
        "stream": stream,
        **body,
        **(tools if step == "call" else {}),
    }
    if step == "words":
        asked = asked | {"max_tokens": 3} if "max_tokens" in body else asked | {"max_output_tokens": 3}
        asked.pop("logit_bias", None)
    answer = httpx.post(served.url + path, json=asked, timeout=60)
    whole, streamed = SPOKEN[path]
    if not stream:
        assert shape(whole(STEPS[step], "0" * 32)) == shape(answer.json())
        return
    scripted = completed(path, b"".join(streamed(STEPS[step], "0" * 32, {})))
    real, scripted = ([shape(event) for event in events(said)] for said in (answer.content, scripted))
    assert without_repeats(scripted) == without_repeats(real)
    assert answer.content.endswith(b"[DONE]\n\n") == (path == "/v1/chat/completions")
