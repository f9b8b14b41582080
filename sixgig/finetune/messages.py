"""Messages of a conversation as people write them, made into those that a chat template takes.

OpenAI's (tool calls and the older function call, contents in parts or null), ShareGPT's (from and value). A
message has role, content and, where given, reasoning_content, tool_calls, tool_call_id and name, and weight 0
where it is not to be learnt. What a message says and none of these can hold is refused.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from sixgig.errors import UsageError
from sixgig.finetune.marks import LEARNT, is_learnt, require_learnt_whole

Record = dict[str, Any]
_CALLING = "calling"
_ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model", "bot", "ai", "bing", "bard"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call", "tool_calls"), _CALLING),
    **dict.fromkeys(
        ("tool", "function", "observation", "function_response", "tool_response", "ipython"), "tool"
    ),
    "system": "system",
    "developer": "developer",
}
_KNOWN = (
    "known: system, developer, user, assistant, tool, and ShareGPT's human, gpt, function_call, observation"
)
_MESSAGE = 'write {"role": "user", "content": "..."}'
_CALL = 'write {"name": "...", "arguments": {...}}'
_REASONING = ("reasoning_content", "reasoning", "thinking")
_KEPT = ("role", "content", "tool_call_id", "name")
_TEXT_PARTS = ("text", "input_text", "output_text")
_NAME, _ONE_WORD = 20, re.compile(r"\s*\S*\s*")  # characters of a name at most
_READ = {*_KEPT, *_REASONING, *LEARNT, "from", "value", "tool_calls", "function_call"}


def read_messages(messages: Any, place: str) -> list[Record]:
    """Raises UsageError, with `place` and the message's number, for what cannot be kept."""
    if not isinstance(messages, list) or not messages:
        refuse(place, "the messages are no list, or an empty one", kind(messages), _MESSAGE)
    return [_message(message, f"{place}, message {number}") for number, message in enumerate(messages, 1)]


def left_out(messages: list[Any]) -> list[str]:
    """Keys of messages, as read_messages takes them, that it leaves out and that hold text."""
    found = (key for each in messages for key in each if key not in _READ and holds_text(each[key]))
    return [f"{key} of messages" for key in dict.fromkeys(found)]


def holds_text(value: Any) -> bool:
    """More than a name, an address or a date: words that someone may miss."""
    if isinstance(value, list | dict):
        return any(map(holds_text, value.values() if isinstance(value, dict) else value))
    return (
        isinstance(value, str) and len(value) > _NAME and not (value.isascii() and _ONE_WORD.fullmatch(value))
    )


def read_tools(tools: Any, place: str) -> tuple[Record, ...] | None:
    """Definitions of tools, from a list or one written as a string, in the form that the engine gives them to
    templates."""
    tools = _parsed(tools, place) if isinstance(tools, str) and tools.strip() else tools
    if not tools:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        refuse(place, "the tools are no list of objects", kind(tools))
    return tuple(_tool(tool, place) for tool in tools)


def kind(value: Any) -> str:
    """What was found, in words."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return f"found {names.get(type(value), 'a number')}"


def refuse(place: str, what: str, numbers: str = "", cure: str = "") -> NoReturn:
    """Raises UsageError."""
    raise UsageError(f"{place}: {what}", numbers, cure)


def _message(message: Any, place: str) -> Record:
    if not isinstance(message, dict):
        refuse(place, "this is no message", kind(message), _MESSAGE)
    found = {key: value for key, value in message.items() if value is not None}
    if "from" in found and "role" not in found:
        found["role"] = found.pop("from")
    if "value" in found and "content" not in found:
        found["content"] = found.pop("value")
    role = _role(found, place)
    if role == _CALLING:
        role, found["tool_calls"] = "assistant", found.pop("content", None)
    if function := found.get("function_call"):
        if found.get("tool_calls"):
            refuse(place, '"function_call" stands beside "tool_calls"', cure="leave one of them out")
        found["tool_calls"] = function
    kept = {key: found[key] for key in _KEPT if key in found} | {"role": role}
    if calls := found.get("tool_calls"):
        kept["tool_calls"] = _calls(calls, place)
    if reasoning := _reasoning(found, place):
        kept["reasoning_content"] = reasoning
    if not is_learnt(found, role, place):
        kept["weight"] = 0
    kept["content"] = _content(kept, place)
    return kept


def _role(message: Record, place: str) -> str:
    role = message.get("role")
    if not isinstance(role, str) or not role:
        refuse(place, "the message has no role", f"keys: {', '.join(message)[:200]}", _MESSAGE)
    known = _ROLES.get(role.strip().lower().replace("-", "_"))
    if known is None:
        refuse(place, "the speaker is not known", repr(role[:80]), _KNOWN)
    return known


def _content(message: Record, place: str) -> str:
    """The text of a message, its parts joined; "" beside tool calls."""
    content = message.get("content", "" if message.get("tool_calls") else None)
    if content is None:
        refuse(place, "the message has no content", f"keys: {', '.join(message)[:200]}", _MESSAGE)
    if isinstance(content, list):
        content = "".join(_part(part, place) for part in content)
    if not isinstance(content, str):
        refuse(place, "the content is no text", kind(content), _MESSAGE)
    if message["role"] == "assistant" and not (content.strip() or message.get("tool_calls")):
        refuse(place, "the answer is empty", cure="give it some text, or leave the example out")
    return content


def _part(part: Any, place: str) -> str:
    if (
        not isinstance(part, dict)
        or part.get("type") not in _TEXT_PARTS
        or not isinstance(part.get("text"), str)
    ):
        name = part.get("type") if isinstance(part, dict) else None
        found = f"a part of type {name[:40]}" if isinstance(name, str) else kind(part)
        refuse(place, "only text can be learnt", found, 'write parts as {"type": "text", "text": "..."}')
    require_learnt_whole(part, place)
    return str(part["text"])


def _reasoning(message: Record, place: str) -> str:
    """Under whichever name it stands."""
    for key in _REASONING:
        if found := message.get(key):
            if not isinstance(found, str):
                refuse(place, f'"{key}" is no text', kind(found))
            return str(found)
    return ""


def _calls(calls: Any, place: str) -> list[Record]:
    """In OpenAI's form, arguments as objects: templates write those right, and strings of JSON often not."""
    calls = _parsed(calls, place) if isinstance(calls, str) else calls
    calls = [calls] if isinstance(calls, dict) and "name" in calls else calls
    if not isinstance(calls, list) or not calls or not all(isinstance(call, dict) for call in calls):
        refuse(place, "the tool calls are no list of objects", kind(calls), _CALL)
    return [_call(call, place) for call in calls]


def _call(call: Record, place: str) -> Record:
    function = call.get("function", call)
    name = function.get("name") if isinstance(function, dict) else None
    if call.get("type", "function") != "function" or not isinstance(name, str) or not name:
        refuse(place, "the tool call is of no function", f"keys: {', '.join(call)[:200]}", _CALL)
    arguments = function.get("arguments")
    arguments = _parsed(arguments, place) if isinstance(arguments, str) and arguments.strip() else arguments
    if not isinstance(arguments or {}, dict):
        refuse(place, "the arguments of the tool call are no object", kind(arguments), _CALL)
    made = {"type": "function", "function": {"name": name, "arguments": arguments or {}}}
    return made | ({"id": call["id"]} if isinstance(call.get("id"), str) else {})


def _tool(tool: Record, place: str) -> Record:
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name or tool.get("type", "function") != "function":
        cure = 'write {"type": "function", "function": {"name": "...", "parameters": {...}}}'
        refuse(place, "the tool is no function with a name", f"keys: {', '.join(tool)[:200]}", cure)
    described = {
        "description": function.get("description") or "",
        "parameters": function.get("parameters") or {},
    }
    return {"type": "function", "function": {"name": name} | described}


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse(place, "tools or their arguments are no JSON", str(error), "write an object")
