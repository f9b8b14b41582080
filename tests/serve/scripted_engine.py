"""An engine that answers from a script, in the forms of llama.cpp's server (test_scripted_engine.py)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

Event = dict[str, Any]
STREAM = {"content-type": "text/event-stream"}
MODEL, BUILD, CREATED, PROMPT_TOKENS = "scripted", "b1-scripted", 1_700_000_000, 11
SIDE_ANSWER = "A file"  # to what is asked beside the task: a title, a summary


@dataclass(frozen=True)
class ToolCall:
    """What the model asks for; arguments are cut into pieces as an engine's tokens would."""

    name: str
    arguments: dict[str, Any]

    @property
    def text(self) -> str:
        return json.dumps(self.arguments)


Step = ToolCall | str


@dataclass
class ScriptedEngine:
    """Answers with the step whose number is that of the tool results in the request.

    A request that does not offer the script's first tool is beside the task. asked: every body, read.
    thought: what it thinks before each step.
    """

    steps: list[Step]
    thought: str = ""
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    ids: Iterator[int] = field(default_factory=itertools.count)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        path, body = request.url.path, json.loads(request.content)
        self.asked.append((path, body))
        if path.endswith(("/count_tokens", "/input_tokens")):
            return httpx.Response(200, json={"input_tokens": PROMPT_TOKENS})
        whole, stream = SPOKEN[path]
        id_ = f"{next(self.ids):032d}"
        step = self.step(path, body)
        if not body.get("stream"):
            return httpx.Response(200, json=whole(step, id_, self.thought))
        pieces = stream(step, id_, body, self.thought)
        return httpx.Response(200, headers=STREAM, content=_pieces(pieces))

    def step(self, path: str, body: dict[str, Any]) -> Step:
        """What is answered to this request."""
        first = next(step for step in self.steps if isinstance(step, ToolCall))
        if first.name not in offered(body):
            return SIDE_ANSWER
        return self.steps[min(len(results(path, body)), len(self.steps) - 1)]

    @property
    def task(self) -> list[tuple[str, dict[str, Any]]]:
        """The requests of the task itself."""
        first = next(step for step in self.steps if isinstance(step, ToolCall))
        return [(path, body) for path, body in self.asked if first.name in offered(body)]


def offered(body: dict[str, Any]) -> list[str]:
    """Names of the tools that a request lets the model call."""
    tools = body.get("tools") or []
    return [tool.get("name") or tool.get("function", {}).get("name", "") for tool in tools]


def results(path: str, body: dict[str, Any]) -> list[Any]:
    """What the tools gave, in order."""
    if path == "/v1/responses":
        items = body["input"] if isinstance(body["input"], list) else []
        return [item["output"] for item in items if item.get("type", "").endswith("_call_output")]
    messages = body["messages"]
    if path == "/v1/messages":
        blocks = (block for message in messages for block in message["content"])
        return [b["content"] for b in blocks if isinstance(b, dict) and b["type"] == "tool_result"]
    return [message["content"] for message in messages if message["role"] == "tool"]


def _cut(text: str) -> list[str]:
    return [text[at : at + 7] for at in range(0, len(text), 7)]


async def _pieces(pieces: list[bytes]) -> Any:
    for piece in pieces:
        yield piece


# OpenAI's chat


def _chat_usage() -> Event:
    details = {"prompt_tokens_details": {"cached_tokens": 0}}
    return {
        "completion_tokens": 5,
        "prompt_tokens": PROMPT_TOKENS,
        "total_tokens": PROMPT_TOKENS + 5,
        **details,
    }


def _chat(step: Step, id_: str, thought: str = "") -> Event:
    message: Event = {"role": "assistant", "content": step if isinstance(step, str) else ""}
    if thought:
        message["reasoning_content"] = thought
    if isinstance(step, ToolCall):
        function = {"name": step.name, "arguments": step.text}
        message["tool_calls"] = [{"type": "function", "function": function, "id": id_}]
    reason = "stop" if isinstance(step, str) else "tool_calls"
    return {
        "choices": [{"finish_reason": reason, "index": 0, "message": message}],
        "created": CREATED,
        "model": MODEL,
        "system_fingerprint": BUILD,
        "object": "chat.completion",
        "usage": _chat_usage(),
        "id": f"chatcmpl-{id_}",
    }


def _chat_stream(step: Step, id_: str, body: Event, thought: str = "") -> list[bytes]:
    def chunk(*choices: Event, **more: Any) -> bytes:
        document = {
            "choices": list(choices),
            "created": CREATED,
            "id": f"chatcmpl-{id_}",
            "model": MODEL,
            "system_fingerprint": BUILD,
            "object": "chat.completion.chunk",
        }
        return b"data: " + json.dumps(document | more).encode() + b"\n\n"

    def delta(part: Event, reason: str | None = None) -> bytes:
        return chunk({"finish_reason": reason, "index": 0, "delta": part})

    pieces = [delta({"role": "assistant", "content": None})]
    pieces += [delta({"reasoning_content": text}) for text in _cut(thought)]
    if isinstance(step, str):
        pieces += [delta({"content": text}) for text in _cut(step)]
    else:
        function = {"name": step.name, "arguments": step.text[:1]}
        call = {"index": 0, "id": id_, "type": "function", "function": function}
        pieces.append(delta({"tool_calls": [call]}))
        for text in _cut(step.text[1:]):
            pieces.append(delta({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}))
    pieces.append(delta({}, "stop" if isinstance(step, str) else "tool_calls"))
    if (body.get("stream_options") or {}).get("include_usage"):
        pieces.append(chunk(usage=_chat_usage()))
    return [*pieces, b"data: [DONE]\n\n"]


# Anthropic's messages


def _message(step: Step, id_: str, thought: str = "") -> Event:
    if isinstance(step, str):
        block: Event = {"type": "text", "text": step}
    else:
        block = {"type": "tool_use", "id": id_, "name": step.name, "input": step.arguments}
    return {
        "id": f"chatcmpl-{id_}",
        "type": "message",
        "role": "assistant",
        "content": [*_thinking(thought), block],
        "model": MODEL,
        "stop_reason": "end_turn" if isinstance(step, str) else "tool_use",
        "stop_sequence": None,
        "usage": {"cache_read_input_tokens": 0, "input_tokens": PROMPT_TOKENS, "output_tokens": 5},
    }


def _thinking(thought: str) -> list[Event]:
    return [{"type": "thinking", "thinking": thought, "signature": ""}] if thought else []


def _message_stream(step: Step, id_: str, _body: Event, thought: str = "") -> list[bytes]:
    whole = _message(step, id_)
    begun = whole | {"content": [], "stop_reason": None, "usage": whole["usage"] | {"output_tokens": 0}}
    events: list[Event] = [{"type": "message_start", "message": begun}]
    if isinstance(step, str):
        start: Event = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": text} for text in _cut(step)]
    else:
        start = {"type": "tool_use", "id": id_, "name": step.name}
        deltas = [{"type": "input_json_delta", "partial_json": text} for text in _cut(step.text)]
    blocks = [(start, deltas)]
    if thought:
        thoughts = [{"type": "thinking_delta", "thinking": text} for text in _cut(thought)]
        blocks.insert(0, ({"type": "thinking", "thinking": ""}, thoughts))
    for index, (begun, pieces) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in pieces]
    if thought:
        signature = {"type": "signature_delta", "signature": ""}
        events.append({"type": "content_block_delta", "index": 0, "delta": signature})
    events += [{"type": "content_block_stop", "index": index} for index in range(len(blocks))]
    reason = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": reason, "usage": {"output_tokens": 5}})
    return _named([*events, {"type": "message_stop"}])


# OpenAI's responses


def _item(step: Step, id_: str) -> Event:
    if isinstance(step, str):
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": step}
        return {
            "type": "message",
            "status": "completed",
            "id": f"msg_{id_}",
            "content": [part],
            "role": "assistant",
        }
    return {
        "id": f"fc_{id_}",
        "type": "function_call",
        "status": "completed",
        "arguments": step.text,
        "call_id": f"call_{id_}",
        "name": step.name,
    }


def _reasoning(thought: str, id_: str) -> list[Event]:
    content = [{"text": thought, "type": "reasoning_text"}]
    item = {
        "id": f"rs_{id_}",
        "summary": [],
        "type": "reasoning",
        "content": content,
        "encrypted_content": "",
    }
    return [item] if thought else []


def _response(step: Step, id_: str, thought: str = "") -> Event:
    details = {"input_tokens_details": {"cached_tokens": 0}}
    return {
        "id": f"resp_{id_}",
        "object": "response",
        "created_at": CREATED,
        "status": "completed",
        "model": MODEL,
        "output": [*_reasoning(thought, id_), _item(step, id_)],
        "usage": {
            "input_tokens": PROMPT_TOKENS,
            "output_tokens": 5,
            "total_tokens": PROMPT_TOKENS + 5,
            **details,
        },
    }


def _whole_response(step: Step, id_: str, thought: str = "") -> Event:
    return {**_response(step, id_, thought), "completed_at": CREATED}


def _response_stream(step: Step, id_: str, _body: Event, thought: str = "") -> list[bytes]:
    response, item = _response(step, id_, thought), _item(step, id_)
    begun = {"id": response["id"], "object": "response", "status": "in_progress"}
    events: list[Event] = [
        {"type": f"response.{said}", "response": begun} for said in ("created", "in_progress")
    ]
    for thinking in _reasoning(thought, id_):
        events.append(_added(thinking | {"content": []}))
        delta, of = "response.reasoning_text.delta", thinking["id"]
        events += [{"type": delta, "delta": text, "item_id": of} for text in _cut(thought)]
    done = [{"type": "response.output_item.done", "item": thinking} for thinking in _reasoning(thought, id_)]
    named = {"item_id": item["id"]}
    if isinstance(step, str):
        events.append(_added(item | {"content": []}))
        empty = {"type": "output_text", "text": ""}
        events.append({"type": "response.content_part.added", **named, "part": empty})
        events += [{"type": "response.output_text.delta", **named, "delta": text} for text in _cut(step)]
        events += done
        events.append({"type": "response.output_text.done", **named, "text": step})
        events.append({"type": "response.content_part.done", **named, "part": item["content"][0]})
    else:
        events.append(_added(item | {"arguments": ""}))
        delta = "response.function_call_arguments.delta"
        events += [{"type": delta, "delta": text, **named} for text in _cut(step.text)]
        events += done
    events.append({"type": "response.output_item.done", "item": item})
    return _named([*events, {"type": "response.completed", "response": response}])


def _added(item: Event) -> Event:
    return {"type": "response.output_item.added", "item": item | {"status": "in_progress"}}


def _named(events: list[Event]) -> list[bytes]:
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


SPOKEN: dict[str, tuple[Callable[..., Event], Callable[..., list[bytes]]]] = {
    "/v1/chat/completions": (_chat, _chat_stream),
    "/v1/messages": (_message, _message_stream),
    "/v1/responses": (_whole_response, _response_stream),
}
