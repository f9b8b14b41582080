"""What a chat template makes of a conversation: the text before each answer that is learnt, and the answer.

Templates leave out what they do not know: roles, tool calls, reasoning. A conversation of which a text would
be missing is refused, and so is an answer that the template writes otherwise than a model has to say it.
Earlier reasoning and space at the ends of texts may go: templates drop them by design.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from sixgig.errors import SixgigError, UsageError
from sixgig.finetune.examples import Conversation

_OPENED = re.compile(r"<think>(\s*)\Z")  # a prompt that has begun the reasoning
_BEGUN = re.compile(r"\s*<think>\n?")
_CLOSE = "</think>"
_SHORTEST_END = 4  # characters of a prompt by which its place is told
_PROBE = re.compile(r"Zq(\d+)(content|reasoning|call|tools)\d*qZ")
_CURES = {
    "content": "write it as the model expects it, or leave it out",
    "reasoning": "write it in the content, as <think>...</think>",
    "call": "write the call as text in the content, or tune a model whose template writes calls",
    "tools": 'leave "tools" out, or describe them in a system message',
}
_NAMES = {"content": "text", "reasoning": "reasoning", "call": "tool call", "tools": "definitions of tools"}
Message = Mapping[str, Any]


class Template(Protocol):
    """A chat template: messages to text, without the special tokens that the tokenizer puts around a text.
    Hashable.

    Raises SixgigError for what it does not take.
    """

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool,
        tools: Sequence[Mapping[str, Any]] | None,
    ) -> str:
        """The text, with the beginning of an answer where a generation prompt is asked for."""

    def __hash__(self) -> int: ...


class Turn(NamedTuple):
    """What is there when message `number` is asked for, and with the answer."""

    prompt: str
    answered: str


def whole(example: Conversation, template: Template) -> str:
    """All of it as one text. Raises UsageError, with the example's place, as learnt_turns does."""
    if any(message.get("weight") == 0 for message in example.messages):
        what = f"{example.place}: an answer that is not to be learnt stands beside --train-on-all"
        raise UsageError(what, cure="leave one of them out")
    text = _rendered(example, template, len(example.messages), ask=False)
    _require_written(example, template, len(example.messages), text, ask=False)
    return text


def learnt_turns(example: Conversation, template: Template) -> list[Turn]:
    """One for each answer that is learnt: the assistant's, but for those of weight 0 and a first message,
    that nobody asked for.

    Raises UsageError, with the example's place, for what the template refuses, leaves out, or writes
    otherwise than it asks for it.
    """
    return [
        _turn(example, template, number)
        for number, message in enumerate(example.messages)
        if number and message["role"] == "assistant" and message.get("weight") != 0
    ]


def _turn(example: Conversation, template: Template, number: int) -> Turn:
    prompt = _rendered(example, template, number, ask=True)
    _require_written(example, template, number, prompt, ask=True)
    full = _rendered(example, template, number + 1, ask=False)
    _require_written(example, template, number + 1, full, ask=False, first=number)
    message = example.messages[number]
    if full.startswith(prompt) and _has(full[len(prompt) :], message):
        return Turn(prompt, full)
    opened = _OPENED.search(prompt)
    asked = prompt[: opened.start()] if opened else prompt
    written = _behind(asked, full, _rendered(example, template, number, ask=False))
    answer = _thought_first(written, message, opened[1] if opened else None)
    if not answer:
        what = f"{example.place}: the chat template writes an answer otherwise than it asks for it"
        raise UsageError(what, f"message {number + 1}", 'write it as "prompt" and "completion"')
    return Turn(prompt, prompt + answer)


def _behind(asked: str, full: str, before: str) -> str:
    """What `full` writes behind the end of `asked`, all of it or else the longest end that is there, of which
    what `asked` adds to `before` is part; "" where there is none.

    Some templates write the past otherwise once it is answered: Hermes' closes a tool's answer, Mistral's
    moves the system message.
    """
    if full.startswith(asked):
        return full[len(asked) :]
    same = next((at for at, (a, b) in enumerate(zip(asked, before, strict=False)) if a != b), len(before))
    least = max(len(asked) - same, _SHORTEST_END)
    longest = (
        bisect_left(range(len(asked) + 1), True, key=lambda size: asked[len(asked) - size :] not in full) - 1
    )
    return full.rpartition(asked[len(asked) - longest :])[2] if longest >= least else ""


def _thought_first(written: str, message: Message, begun: str | None) -> str:
    """`written`, the template's writing of an answer, behind the reasoning that it drops: what the content
    holds, or none where the prompt has opened it. "" where the answer is not in it.

    begun: what follows the <think> that the prompt has opened; None where it has not.
    """
    thought, closed, said = str(message["content"]).rpartition(_CLOSE)
    if not _has(written, {**message, "content": said}):
        return ""
    if closed and not _has(written, message):
        thought = thought if begun is None else _BEGUN.sub("", thought, count=1)
        space = said[: len(said) - len(said.lstrip())]
        return thought + closed + (space + written[written.find(said.strip()) :] if said.strip() else written)
    if begun is None or closed or written.lstrip().startswith(_CLOSE):
        return written
    return (f"\n{_CLOSE}\n\n" if begun else _CLOSE) + written.lstrip()


def _has(written: str, message: Message) -> bool:
    """Does all that the message says stand there? Its reasoning and content word for word and in order, its
    calls as they are or as JSON writes them."""
    at = 0
    for part in re.split("</?think>", message["content"]):
        at = written.find(part.strip(), at)
        if at < 0:
            return False
        at += len(part.strip())
    texts = [message.get("reasoning_content", "").strip()]
    for call in message.get("tool_calls", ()):
        texts += [call["function"]["name"], *_leaves(call["function"]["arguments"])]
    return all(text in written or _in_json(text, written) for text in texts)


def _in_json(text: str, written: str) -> bool:
    return any(json.dumps(text, ensure_ascii=ascii)[1:-1] in written for ascii in (False, True))


def _leaves(value: Any) -> list[str]:
    """The texts in it, keys included."""
    if isinstance(value, dict):
        return [*value, *(leaf for each in value.values() for leaf in _leaves(each))]
    if isinstance(value, list):
        return [leaf for each in value for leaf in _leaves(each)]
    return [value.strip()] if isinstance(value, str) else []


def _require_written(
    example: Conversation, template: Template, n_messages: int, text: str, *, ask: bool, first: int = 0
) -> None:
    """UsageError unless `text`, the rendering of `n_messages`, has those from `first` on, earlier reasoning
    excepted, and the tools. Told by words of ours in place of theirs: a short text stands anywhere."""
    messages = example.messages[:n_messages]
    probed = [_probed(message, number, n_messages - 1) for number, message in enumerate(messages)]
    tools = [_probed_tool(tool, number) for number, tool in enumerate(example.tools or ())]
    wanted = json.dumps(probed[first:]) + ("" if first else json.dumps(tools))
    lost = _left_out(template, json.dumps(probed), json.dumps(tools), ask, wanted)
    if lost is None:  # it does not take words of ours
        says = [message["content"].rpartition(_CLOSE)[2].strip() for message in messages]
        missing = [
            at for at in range(first, n_messages) if not (says[at] in text or _in_json(says[at], text))
        ]
        lost = (missing[0], "content") if missing else ()
    if lost:
        number, what = lost
        at = "" if what == "tools" else f", message {number + 1} ({messages[number]['role']})"
        told = f"{example.place}{at}: the chat template leaves out its {_NAMES[what]}"
        raise UsageError(told, "nothing would be learnt of it", _CURES[what])


@lru_cache(maxsize=4096)
def _left_out(
    template: Template, messages: str, tools: str, ask: bool, wanted: str
) -> tuple[int, str] | tuple[()] | None:
    """The message and the kind of the first probe in `wanted` that is not in the rendering; () when all are,
    None when the template refuses."""
    given = json.loads(messages), json.loads(tools) or None
    try:
        text = template.render(given[0], add_generation_prompt=ask, tools=given[1])
    except SixgigError:
        return None
    lost = next((found for found in _PROBE.finditer(wanted) if found[0] not in text), None)
    return (int(lost[1]), lost[2]) if lost else ()


def _probed(message: Message, number: int, last: int) -> dict[str, Any]:
    """The message with a word of its own for each of its texts; reasoning in the last message only."""
    left_out = ("weight",) if number == last else ("weight", "reasoning_content")
    probed = {key: value for key, value in message.items() if key not in left_out}
    if message["content"].strip():
        probed["content"] = f"Zq{number}contentqZ"
    if probed.get("reasoning_content", "").strip():
        probed["reasoning_content"] = f"Zq{number}reasoningqZ"
    if message.get("tool_calls"):
        calls = enumerate(message["tool_calls"])
        probed["tool_calls"] = [_probed_call(call, f"Zq{number}call{at}") for at, call in calls]
    return probed


def _probed_call(call: Message, word: str) -> dict[str, Any]:
    arguments = {
        key: f"{word}{at:03}qZ" if isinstance(value, str) and value else value
        for at, (key, value) in enumerate(call["function"]["arguments"].items())
    }
    return {**call, "function": {"name": f"{word}qZ", "arguments": arguments}}


def _probed_tool(tool: Message, number: int) -> dict[str, Any]:
    named = {"name": f"Zq{number}toolsqZ"}
    return {**tool, "function": {**tool["function"], **named}} if "function" in tool else {**tool, **named}


def _rendered(example: Conversation, template: Template, n_messages: int, ask: bool) -> str:
    messages = [
        {key: value for key, value in message.items() if key != "weight"}
        for message in example.messages[:n_messages]
    ]
    tools = None if example.tools is None else list(example.tools)
    try:
        return template.render(messages, add_generation_prompt=ask, tools=tools)
    except SixgigError as error:
        what = f"{example.place}: the chat template refuses this conversation"
        numbers = f"up to message {n_messages}: {error.numbers or error.what}"
        raise UsageError(what, numbers, "write it as the model expects it, or leave it out") from error
