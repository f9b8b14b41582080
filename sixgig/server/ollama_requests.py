"""Ollama's requests in the engine's (OpenAI's) words. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sixgig.errors import UsageError
from sixgig.server.ollama_fields import AnswerRequest, ChatRequest, Function, GenerateRequest, Message

CHAT_PATH, COMPLETION_PATH, INFILL_PATH = "/v1/chat/completions", "/v1/completions", "/infill"
EMBEDDINGS_PATH = "/v1/embeddings"


@dataclass(frozen=True)
class EngineRequest:
    """path: the engine's endpoint; fields: its body as JSON."""

    path: str
    fields: dict[str, Any]

    @property
    def body(self) -> bytes:
        """As sent. Raises UsageError for a number that JSON does not know."""
        try:
            return json.dumps(self.fields, allow_nan=False).encode()
        except ValueError as error:
            raise UsageError("a number is out of range", str(error)[:80]) from error


def chat_request(request: ChatRequest) -> EngineRequest:
    """Raises UsageError for images, which no model here sees."""
    messages = request.messages or []
    if any(message.images for message in messages):
        raise _no_images(request.model)
    fields = _chat_fields(request, _engine_messages(messages))
    tools = [tool.engine_tool() for tool in request.tools or ()]
    return EngineRequest(CHAT_PATH, fields | ({"tools": tools} if tools else {}))


def generate_request(request: GenerateRequest, has_template: bool) -> EngineRequest:
    """A chat of one message; the bare prompt where it is raw or the model has no template; a gap where there
    is a suffix. Raises UsageError for what has no place in these.
    """
    if request.images:
        raise _no_images(request.model)
    if request.template:
        cure = 'leave it out, or send the finished prompt with "raw": true'
        raise UsageError("the template cannot be replaced", "template", cure)
    if request.suffix:
        return EngineRequest(INFILL_PATH, _infill_fields(request))
    if request.raw or not has_template:
        return EngineRequest(COMPLETION_PATH, _completion_fields(request))
    system = [Message(role="system", content=request.system)] if request.system else []
    turn = Message(role="user", content=request.prompt)
    return EngineRequest(CHAT_PATH, _chat_fields(request, _engine_messages([*system, turn])))


def embed_request(model: str, inputs: list[str | list[int]]) -> EngineRequest:
    """Texts, or their tokens."""
    return EngineRequest(EMBEDDINGS_PATH, {"model": model, "input": inputs})


def _no_images(model: str) -> UsageError:
    return UsageError(f"{model[:60]} sees no images", cure="send text alone")


def _chat_fields(request: AnswerRequest, messages: list[dict[str, Any]]) -> dict[str, Any]:
    fields = {"model": request.model, "messages": messages} | request.sampling() | _thinking(request.think)
    if request.format == "json":
        fields["response_format"] = {"type": "json_object"}
    elif isinstance(request.format, dict):
        schema = {"name": "answer", "schema": request.format}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    if request.logprobs:
        fields |= {"logprobs": True, "top_logprobs": request.top_logprobs or 1}
    return fields


def _completion_fields(request: GenerateRequest) -> dict[str, Any]:
    if request.system:
        why = "raw" if request.raw else f"{request.model[:60]} has no chat template"
        raise UsageError("there is no place for system", why, "put it into the prompt")
    logprobs = {"logprobs": request.top_logprobs or 1} if request.logprobs else {}
    asked = {"model": request.model, "prompt": request.prompt}
    return asked | request.sampling() | _grammar(request.format) | logprobs


def _infill_fields(request: GenerateRequest) -> dict[str, Any]:
    gap = {"input_prefix": request.prompt or "", "input_suffix": request.suffix, "model": request.model}
    return gap | request.sampling("n_predict") | _grammar(request.format)


def _grammar(form: str | dict[str, Any] | None) -> dict[str, Any]:
    """The completion endpoints have no response_format, but the schema by itself."""
    if not form:
        return {}
    return {"json_schema": form if isinstance(form, dict) else {"type": "object"}}


def _thinking(think: bool | str | None) -> dict[str, Any]:
    """What templates call it; a level ("low") asks for thinking, too."""
    if think is None or think == "":
        return {}
    level = {} if isinstance(think, bool) else {"reasoning_effort": think}
    return {"chat_template_kwargs": {"enable_thinking": bool(think)} | level}


def _engine_messages(messages: list[Message]) -> list[dict[str, Any]]:
    open_calls: list[tuple[str, str]] = []
    return [_engine_message(message, place, open_calls) for place, message in enumerate(messages)]


def _engine_message(message: Message, place: int, open_calls: list[tuple[str, str]]) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content or ""}
    if message.thinking:
        turn["reasoning_content"] = message.thinking
    if message.tool_calls:
        calls = [(call.id or f"call_{place}_{n}", call.function) for n, call in enumerate(message.tool_calls)]
        open_calls += [(id, function.name) for id, function in calls]
        turn["tool_calls"] = [_engine_call(id, function) for id, function in calls]
    if message.role == "tool":
        turn |= _answered_call(message, open_calls)
    return turn


def _engine_call(id: str, function: Function) -> dict[str, Any]:
    arguments = json.dumps(function.arguments, ensure_ascii=False)
    return {"id": id, "type": "function", "function": {"name": function.name, "arguments": arguments}}


def _answered_call(message: Message, open_calls: list[tuple[str, str]]) -> dict[str, Any]:
    """Ollama's clients may name the tool alone: its first call without an answer is meant, else the first."""
    wanted = message.tool_call_id, message.tool_name
    match = next((call for call in open_calls if call[0] == wanted[0]), None)
    match = match or next((call for call in open_calls if call[1] == wanted[1]), None)
    match = match or (open_calls[0] if open_calls else ("", ""))
    if match in open_calls:
        open_calls.remove(match)
    found = {"tool_call_id": message.tool_call_id or match[0], "name": message.tool_name or match[1]}
    return {name: value for name, value in found.items() if value}
