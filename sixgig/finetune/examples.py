"""Examples to learn from, read one at a time from a user's file.

JSONL: each line an object with the keys of one of these, looked for in this order; other keys are left out.

===========================================  ==============================================================
keys                                         read as
===========================================  ==============================================================
messages, or ShareGPT's conversations        a conversation: role and content, or from and value
instruction, output, perhaps input (Alpaca)  a conversation of a question and its answer
prompt, completion                           a text and what follows it, without the chat template
text                                         a text, in which names of special tokens stand for the tokens
===========================================  ==============================================================

A conversation may come with "system", a string, and "tools", a list or one written as a string. A message of
"weight" 0 is not learnt. Null is the same as absent. All other files are plain text, in documents that
<|endoftext|> separates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from sixgig.errors import UsageError

SEPARATOR = "<|endoftext|>"
_JSON_SUFFIXES, _TEXT_SUFFIXES = (".jsonl", ".json", ".ndjson"), (".txt", ".md")
_BEGINS_JSON = re.compile(r"\s*(\{\s*([\"}]|$)|\[\s*(\{|$))")
_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}
_SHAPES = 'write {"messages": [...]}, {"prompt": "...", "completion": "..."} or {"text": "..."}'
_MESSAGE = 'write {"role": "user", "content": "..."}'

Record = dict[str, Any]


@dataclass(frozen=True)
class Text:
    """All of it is learnt. special: names of special tokens stand for the tokens."""

    place: str = field(compare=False)
    text: str
    special: bool = False


@dataclass(frozen=True)
class Completion:
    """`completion` is learnt as what follows `prompt`."""

    place: str = field(compare=False)
    prompt: str
    completion: str


@dataclass(frozen=True)
class Conversation:
    """Messages and tools as a chat template takes them; what the assistant says is learnt."""

    place: str = field(compare=False)
    messages: tuple[Record, ...]
    tools: tuple[Record, ...] | None = None


Example = Text | Completion | Conversation
"""`place` says where it stands: "data.jsonl, line 3"."""


def content_digest(example: Example) -> str:
    """SHA-256 of the content, whatever its place."""
    content = {name: value for name, value in vars(example).items() if name != "place"}
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_examples(path: Path) -> Iterator[Example]:
    """The file's examples in order; JSONL or plain text by the file's suffix, else by its first line.

    Raises UsageError, with the line's number, at the first one that cannot be read, and for a file without
    any.
    """
    lines = _lines(path)
    first = next((line for line in lines if line[1].strip()), None)
    if first is None:
        raise UsageError(f"{path} has no examples", "it is empty", _SHAPES)
    is_json = _BEGINS_JSON.match(first[1]) if path.suffix.lower() not in _TEXT_SUFFIXES else None
    read = _objects if is_json or path.suffix.lower() in _JSON_SUFFIXES else _documents
    examples = read(chain([first], lines), path)
    if (example := next(examples, None)) is None:
        raise UsageError(f"{path} has no examples", f"nothing but {SEPARATOR}", "put text between them")
    yield example
    yield from examples


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines and their numbers from 1, ends as "\\n", without a byte order mark."""
    start = 0
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                yield number, _decoded(raw, start, path).replace("\r\n", "\n")
                start += len(raw)
    except OSError as error:
        raise UsageError(f"cannot read {path}", str(error.strerror), "name a file of examples") from error


def _decoded(raw: bytes, start: int, path: Path) -> str:
    try:
        return raw.decode("utf-8" if start else "utf-8-sig")
    except UnicodeDecodeError as error:
        at = start + error.start + (0 if start or not raw.startswith(b"\xef\xbb\xbf") else 3)
        raise UsageError(f"{path} is not UTF-8 text", f"byte {at}", "convert it") from error


def _documents(lines: Iterator[tuple[int, str]], path: Path) -> Iterator[Text]:
    """What stands between separators, blank documents left out."""
    pieces, begin = list[str](), 1
    for number, line in lines:
        rest, *following = line.split(SEPARATOR)
        pieces.append(rest)
        for text in following:
            yield from _document(pieces, f"{path}, line {begin}")
            pieces, begin = ([text], number) if text.strip() else ([], number + 1)
    yield from _document(pieces, f"{path}, line {begin}")


def _document(pieces: list[str], place: str) -> Iterator[Text]:
    text = "".join(pieces)
    if text.strip():
        yield Text(place, text)


def _objects(lines: Iterator[tuple[int, str]], path: Path) -> Iterator[Example]:
    for number, line in lines:
        if line.strip():
            place = f"{path}, line {number}"
            yield _example(_record(line, place), place)


def _record(line: str, place: str) -> Record:
    cure = "write one JSON object on each line (jq -c '.[]' makes them of an array)"
    try:
        record = json.loads(line, object_pairs_hook=_without_repeats)
        if "\\ud" in line.lower():
            json.dumps(record, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise UsageError(f"{place}: this is no JSON", f"column {error.colno}: {error.msg}", cure) from error
    except UnicodeEncodeError as error:
        raise UsageError(f"{place}: half a surrogate pair", cure="escape both halves, or neither") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{place}: this JSON cannot be read", str(error), cure) from error
    if not isinstance(record, dict):
        raise UsageError(f"{place}: this is no JSON object", _kind(record), cure)
    return _without_nulls(record)


def _without_repeats(pairs: list[tuple[str, Any]]) -> Record:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return record


def _without_nulls(record: Record) -> Record:
    return {key: value for key, value in record.items() if value is not None}


def _example(record: Record, place: str) -> Example:
    for key in ("messages", "conversations"):
        if key in record:
            return _conversation(record, record[key], place)
    if {"instruction", "output"} <= record.keys():
        return _conversation(record, _alpaca(record, place), place)
    if {"prompt", "completion"} <= record.keys():
        prompt = _string(record, "prompt", place)
        return Completion(place, prompt, _string(record, "completion", place, blank=False))
    if "text" in record:
        return Text(place, _string(record, "text", place, blank=False), special=True)
    keys = ", ".join(list(record)[:8]) or "none"
    raise UsageError(f"{place}: these keys are of no known example", f"keys: {keys[:200]}", _SHAPES)


def _alpaca(record: Record, place: str) -> list[Record]:
    if record.get("history"):
        _refuse(place, '"history" is not read', cure='write its turns as "messages"')
    question = [_string(record, "instruction", place)]
    if record.get("input"):
        question.append(_string(record, "input", place))
    answer = _string(record, "output", place, blank=False)
    return [{"role": "user", "content": "\n\n".join(question)}, {"role": "assistant", "content": answer}]


def _conversation(record: Record, messages: Any, place: str) -> Conversation:
    if not isinstance(messages, list) or not messages:
        _refuse(place, "the messages are no list, or an empty one", _kind(messages), _MESSAGE)
    read = [_message(message, f"{place}, message {number}") for number, message in enumerate(messages, 1)]
    if record.get("system"):
        if read[0]["role"] == "system":
            _refuse(place, '"system" stands beside a system message', cure="leave one of them out")
        read.insert(0, {"role": "system", "content": _string(record, "system", place)})
    return Conversation(place, tuple(read), _tools(record.get("tools"), place))


def _message(message: Any, place: str) -> Record:
    """With role, content and whatever else a template may look for."""
    if not isinstance(message, dict):
        _refuse(place, "this is no message", _kind(message), _MESSAGE)
    message = _without_nulls(message)
    if "from" in message and "role" not in message:
        speaker = message.pop("from")
        message["role"] = _SHAREGPT_ROLES.get(speaker, speaker) if isinstance(speaker, str) else speaker
    if "value" in message and "content" not in message:
        message["content"] = message.pop("value")
    if not isinstance(message.get("role"), str) or not message["role"]:
        _refuse(place, "the message has no role", f"keys: {', '.join(message)[:200]}", _MESSAGE)
    if message.get("weight", 1) not in (0, 1):
        _refuse(place, "the weight is neither 0 nor 1", cure="0 keeps an answer from being learnt")
    return _with_calls(message, place) | {"content": _content(message, place)}


def _content(message: Record, place: str) -> str:
    """The text of a message, its parts joined; "" beside tool calls."""
    content = message.get("content", "" if message.get("tool_calls") else None)
    if content is None:
        _refuse(place, "the message has no content", f"keys: {', '.join(message)[:200]}", _MESSAGE)
    if isinstance(content, list):
        content = "".join(_part(part, place) for part in content)
    if not isinstance(content, str):
        _refuse(place, "the content is no text", _kind(content), _MESSAGE)
    if message["role"] == "assistant" and not (content.strip() or len(message.keys() - {"role", "content"})):
        _refuse(place, "the answer is empty", cure="give it some text, or leave the example out")
    return content


def _part(part: Any, place: str) -> str:
    if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        kind = part.get("type") if isinstance(part, dict) else None
        found = f"a part of type {kind[:40]}" if isinstance(kind, str) else _kind(part)
        _refuse(place, "only text can be learnt", found, 'write parts as {"type": "text", "text": "..."}')
    return str(part["text"])


def _with_calls(message: Record, place: str) -> Record:
    """Arguments of tool calls as objects: templates write those right, and strings of JSON often not."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        _refuse(place, "the tool calls are no list of objects", _kind(calls))
    return message | {"tool_calls": [_call(call, place) for call in calls]}


def _call(call: Record, place: str) -> Record:
    if isinstance(function := call.get("function"), dict):
        return call | {"function": _call(function, place)}
    arguments = call.get("arguments")
    return call | {"arguments": _parsed(arguments, place)} if isinstance(arguments, str) else call


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        _refuse(place, "tools or their arguments are no JSON", str(error), "write an object")


def _tools(tools: Any, place: str) -> tuple[Record, ...] | None:
    tools = _parsed(tools, place) if isinstance(tools, str) and tools.strip() else tools
    if not tools:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        _refuse(place, "the tools are no list of objects", _kind(tools))
    return tuple(tools)


def _string(record: Record, key: str, place: str, blank: bool = True) -> str:
    value = record[key]
    if not isinstance(value, str):
        _refuse(place, f'"{key}" is no text', _kind(value), _SHAPES)
    if not (blank or value.strip()):
        _refuse(place, f'"{key}" is empty', cure="give it some text, or leave the example out")
    return str(value)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return f"found {names.get(type(value), 'a number')}"


def _refuse(place: str, what: str, numbers: str = "", cure: str = "") -> NoReturn:
    raise UsageError(f"{place}: {what}", numbers, cure)
