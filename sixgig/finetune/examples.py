"""Examples to learn from, read one at a time from a user's file.

JSON lines, a JSON array, or a table (CSV or TSV with a header): each row has the keys of one of these, looked
for in this order; other keys are left out, and told where they hold text.

===============================================  ==========================================================
keys                                             read as
===============================================  ==========================================================
messages, or ShareGPT's conversations            a conversation: role and content, or from and value
prompt and completion, both lists of messages    a conversation of which the completion is learnt (TRL)
instruction, output, perhaps input (Alpaca)      a conversation of a question and its answer
prompt, completion                               a text and what follows it, without the chat template
a question and an answer, perhaps context        a conversation, by the names in sixgig.datafile
text                                             a text; names of special tokens stand for the tokens
===============================================  ==========================================================

A conversation may come with "system", a string, and "tools", a list or one written as a string. A message of
"weight" 0, "train" false or their like (sixgig.finetune.marks) is not learnt. Null is the same as absent. All
other files are plain text, in documents that <|endoftext|> separates.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from pathlib import Path

from sixgig.datafile import ANSWERS, EXTRA, QUESTIONS, Kind
from sixgig.errors import UsageError
from sixgig.finetune.marks import require_learnt
from sixgig.finetune.messages import Record, holds_text, kind, left_out, read_messages, read_tools, refuse
from sixgig.finetune.room import BOUNDLESS, Room
from sixgig.finetune.rows import Lines, open_lines, read_rows

SEPARATOR = "<|endoftext|>"
_SHAPES = (
    'write {"messages": [...]}, {"question": "...", "answer": "..."}, '
    '{"prompt": "...", "completion": "..."} or {"text": "..."}'
)
_BESIDE = ("system", "tools", "functions")  # what may go with a conversation
_OF_MESSAGES = ("messages", "conversations", "prompt", "completion")
_NOTHING = {
    Kind.PROSE: (f"nothing but {SEPARATOR}", "put text between them"),
    Kind.TABLE: ("a header and no row", "add rows below the header"),
    Kind.ARRAY: ("an array of no row", _SHAPES),
}


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


def read_examples(
    path: Path, room: Room = BOUNDLESS, passed_over: Counter[str] | None = None
) -> Iterator[Example]:
    """The file's examples in order; what it is, is told by its name and its beginning (sixgig.datafile).

    passed_over: counts the rows in which a key that holds text was left out, by the key.
    Raises UsageError, with the line's number, at the first one that cannot be read, and for a file without
    any; BudgetError before a line takes memory that `room` has not.
    """
    kind, lines = open_lines(path, room)
    first = next((line for line in lines if line[1].strip()), None)
    if first is None:
        raise UsageError(f"{path} has no examples", "it is empty", _SHAPES)
    lines = chain([first], lines)
    if kind is Kind.PROSE:
        examples: Iterator[Example] = _documents(lines, path)
    else:
        examples = _of_rows(read_rows(kind, lines, path), Counter() if passed_over is None else passed_over)
    if (example := next(examples, None)) is None:
        raise UsageError(f"{path} has no examples", *_NOTHING.get(kind, ("no row", _SHAPES)))
    yield example
    yield from examples


def _of_rows(rows: Iterator[tuple[str, Record]], passed_over: Counter[str]) -> Iterator[Example]:
    for place, record in rows:
        example, read = _example(record, place)
        passed_over.update(key for key in record if key not in read and holds_text(record[key]))
        for key in (key for key in _OF_MESSAGES if key in read and isinstance(record[key], list)):
            passed_over.update(left_out(record[key]))
        yield example


def _documents(lines: Lines, path: Path) -> Iterator[Text]:
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


def _example(record: Record, place: str) -> tuple[Example, tuple[str, ...]]:
    """The example and the keys it is read from."""
    require_learnt(record, place)
    for key in ("messages", "conversations"):
        if key in record:
            return _conversation(record, read_messages(record[key], place), place), (key, *_BESIDE)
    if {"prompt", "completion"} <= record.keys() and not {"instruction", "output"} <= record.keys():
        return _completion(record, place)
    question, answer = _keys_of_a_pair(record, place)
    if answer:
        read = (question, answer, *EXTRA, *_BESIDE)
        return _conversation(record, _pair(record, question, answer, place), place), read
    if "text" in record:
        return Text(place, _string(record, "text", place, blank=False), special=True), ("text",)
    keys = ", ".join(list(record)[:8]) or "none"
    raise UsageError(f"{place}: these keys are of no known example", f"keys: {keys[:200]}", _SHAPES)


def _completion(record: Record, place: str) -> tuple[Example, tuple[str, ...]]:
    """A text, or TRL's two lists of messages."""
    sides = record["prompt"], record["completion"]
    if all(isinstance(side, list) and side for side in sides):
        asked, answered = (read_messages(side, place) for side in sides)
        messages = [message | {"weight": 0} for message in asked] + answered
        return _conversation(record, messages, place), ("prompt", "completion", *_BESIDE)
    prompt = _string(record, "prompt", place)
    read = Completion(place, prompt, _string(record, "completion", place, blank=False))
    return read, ("prompt", "completion")


def _keys_of_a_pair(record: Record, place: str) -> tuple[str, str]:
    """Where the question and its answer stand; "" and "" where this is no pair. Raises UsageError where it is
    not clear."""
    if {"instruction", "output"} <= record.keys():
        return "instruction", "output"
    asked = [key for key in QUESTIONS if key in record]
    asked = [key for key in asked if key not in EXTRA] or asked
    answered = [key for key in ANSWERS if key in record]
    if len(asked) == 1 and len(answered) == 1:
        return asked[0], answered[0]
    texts = ["text"] if "text" in record else []
    if sum(map(bool, (asked, answered, texts))) > 1:
        found = f"keys: {', '.join((*asked, *answered, *texts))}"
        cure = f"{_SHAPES}, and leave the others out"
        refuse(place, "it is not clear what the question is and what the answer", found, cure)
    return "", ""


def _pair(record: Record, question: str, answer: str, place: str) -> list[Record]:
    if record.get("history"):
        refuse(place, '"history" is not read', cure='write its turns as "messages"')
    asked = [_string(record, question, place)]
    asked += [_string(record, key, place) for key in EXTRA if record.get(key) and key != question]
    said = _string(record, answer, place, blank=False)
    return [{"role": "user", "content": "\n\n".join(asked)}, {"role": "assistant", "content": said}]


def _conversation(record: Record, messages: list[Record], place: str) -> Conversation:
    if record.get("system"):
        if messages[0]["role"] == "system":
            refuse(place, '"system" stands beside a system message', cure="leave one of them out")
        messages = [{"role": "system", "content": _string(record, "system", place)}, *messages]
    return Conversation(
        place, tuple(messages), read_tools(record.get("tools", record.get("functions")), place)
    )


def _string(record: Record, key: str, place: str, blank: bool = True) -> str:
    value = record[key]
    if not isinstance(value, str):
        refuse(place, f'"{key}" is no text', kind(value), _SHAPES)
    if not (blank or value.strip()):
        refuse(place, f'"{key}" is empty', cure="give it some text, or leave the example out")
    return str(value)
