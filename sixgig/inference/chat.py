"""A model's chat template, rendered as transformers' apply_chat_template renders it."""

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import GeneratorType
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sixgig.errors import ModelFileError

Message = Mapping[str, Any]
CHATML = (  # what the engine takes where a model has no template
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_PROBE = "\ue001"  # for private use: no template writes it
_CHANNELS = "<|channel|>"  # who writes these knows developers
_EMPTY: Mapping[str, Any] = {"type": "object", "properties": {}}


class _GenerationTag(Extension):
    """The {% generation %} block: marks the assistant's words for training; here its body and no more."""

    tags = {"generation"}  # noqa: RUF012 (the base class declares it so)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The nodes between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """Messages to text for training, where every stage of a conversation is rendered. (A prompt to be
    answered is the engine's own work: chat_format.) `notice` is "" or says that the model brought no
    template.

    It follows the engine: BOS and EOS that the template writes are left out where the tokenizer adds its own,
    contents are given in parts and arguments of calls as JSON text where the template wants them so,
    "developer" is "system", and a system message that the template does not write begins the next message.
    Thinking is on.
    Raises ModelFileError when the template is broken or uses what the sandbox forbids.
    """

    def __init__(
        self,
        source: str | None,
        bos: str = "",
        eos: str = "",
        *,
        adds_bos: bool = False,
        adds_eos: bool = False,
    ) -> None:
        self.notice = "" if source else "the model has no chat template: ChatML, as llama.cpp's server does"
        self._names = {"bos_token": bos, "eos_token": eos, "enable_thinking": True}
        self._begin, self._end = bos if adds_bos else "", eos if adds_eos else ""
        self._has_developers = _CHANNELS in (source or "")
        try:
            self._template = _environment().from_string(source or CHATML)
        except (TemplateError, RecursionError) as error:
            raise _broken(error) from error

    def render(
        self,
        messages: Iterable[Message],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        day: datetime | None = None,
        **variables: Any,
    ) -> str:
        """The text. Messages map "role" and "content"; `variables` reach the template as named. day: what it
        takes for now."""
        names = self._names | _dates(day or datetime.now()) | variables
        names |= {"tools": tools} if tools else {}
        names |= {"add_generation_prompt": True} if add_generation_prompt else {}
        try:
            text = self._template.render(messages=self._adapted(messages), **names)
        except Exception as error:  # the template is foreign code: whatever it raises is its own fault
            raise _broken(error) from error
        return text.removeprefix(self._begin).removesuffix(self._end)

    def _adapted(self, messages: Iterable[Message]) -> list[Message]:
        """As this template wants them."""
        given = list(messages)
        if not self._has_developers:
            given = [{**m, "role": "system"} if m.get("role") == "developer" else m for m in given]
        if given and given[0].get("role") == "system" and not self._writes_system:
            given = _without_system(given)
        if any(message.get("tool_calls") for message in given) and not self._takes_objects:
            given = [_with_texts(message) for message in given]
        return [_in_parts(message) for message in given] if self._wants_parts else given

    @functools.cached_property
    def _wants_parts(self) -> bool:
        """Does it show a content in parts, and not one that is a string?"""
        plain: Message = {"role": "user", "content": _PROBE}
        return not self._shows([plain]) and self._shows([_in_parts(plain)])

    @functools.cached_property
    def _writes_system(self) -> bool:
        chat: list[Message] = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "a"}]
        return self._shows([_in_parts(message) for message in chat] if self._wants_parts else chat)

    @functools.cached_property
    def _takes_objects(self) -> bool:
        """Does it show arguments that are an object? If not, it wants their JSON, unless it shows neither."""
        return self._shows_call({"a": _PROBE}) or not self._shows_call(f'{{"a": "{_PROBE}"}}')

    def _shows_call(self, arguments: Any) -> bool:
        call = {
            "type": "function",
            "id": "call00001",
            "function": {"name": "f", "arguments": arguments},
        }
        return self._shows(
            [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": "b", "tool_call_id": "call00001"},
                {"role": "assistant", "content": "c"},
                {"role": "user", "content": "d"},
            ],
            tools=[{"type": "function", "function": {"name": "f", "description": "g", "parameters": _EMPTY}}],
        )

    def _shows(self, messages: Sequence[Message], **names: Any) -> bool:
        given = self._names | _dates(datetime.now()) | {"add_generation_prompt": True} | names
        try:
            return _PROBE in self._template.render(messages=messages, **given)
        except Exception:  # as in render(), which will say so
            return False


def _dates(day: datetime) -> dict[str, Any]:
    return {
        "strftime_now": day.strftime,
        "datetime": day.strftime("%b %d %Y"),
        "date_string": day.strftime("%d %b %Y"),
    }


def _without_system(messages: list[Message]) -> list[Message]:
    system, *others = messages
    if others and all(isinstance(message.get("content"), str) for message in messages[:2]):
        others[0] = {**others[0], "content": f"{system['content']}\n{others[0]['content']}"}
    return others


def _with_texts(message: Message) -> Message:
    """Arguments of calls as the engine writes them where it is given objects."""
    calls = message.get("tool_calls")
    return {**message, "tool_calls": [_with_text(call) for call in calls]} if calls else message


def _with_text(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function", {})
    if not isinstance(arguments := function.get("arguments"), dict):
        return call
    return {**call, "function": {**function, "arguments": json.dumps(arguments, ensure_ascii=False)}}


def _in_parts(message: Message) -> Message:
    content = message.get("content")
    return (
        {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message
    )


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.filters["safe"] = str  # nothing is escaped, so nothing is to be kept from it
    environment.globals["raise_exception"] = _raise_exception
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as text for a model, without the HTML escapes of Jinja's own filter."""
    value = list(value) if isinstance(value, GeneratorType) else value  # what Jinja's own filters give
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _broken(error: Exception) -> ModelFileError:
    line = getattr(error, "lineno", None)
    numbers = f"{type(error).__name__}: {error}" + (f" (line {line})" if line else "")
    return ModelFileError("the model's chat template does not work", numbers)
