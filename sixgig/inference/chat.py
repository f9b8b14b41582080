"""A model's chat template, rendered as transformers' apply_chat_template renders it."""

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
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

    As the engine does, BOS and EOS that the template writes are left out where the tokenizer adds its own,
    and contents are given in parts where the template wants them so.
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
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._begin, self._end = bos if adds_bos else "", eos if adds_eos else ""
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
        **variables: Any,
    ) -> str:
        """The text. Messages map "role" and "content"; `variables` reach the template as named."""
        given = [_in_parts(message) for message in messages] if self._wants_parts else list(messages)
        names = self._tokens | variables | {"tools": tools, "add_generation_prompt": add_generation_prompt}
        try:
            text = self._template.render(messages=given, documents=None, **names)
        except Exception as error:  # the template is foreign code: whatever it raises is its own fault
            raise _broken(error) from error
        return text.removeprefix(self._begin).removesuffix(self._end)

    @functools.cached_property
    def _wants_parts(self) -> bool:
        """Does it show a content in parts, and not one that is a string?"""
        plain: Message = {"role": "user", "content": _PROBE}
        return not self._shows(plain) and self._shows(_in_parts(plain))

    def _shows(self, message: Message) -> bool:
        names: dict[str, Any] = {**self._tokens, "tools": None, "add_generation_prompt": True}
        try:
            return _PROBE in self._template.render(messages=[message], documents=None, **names)
        except Exception:  # as in render(), which will say so
            return False


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
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as text for a model, without the HTML escapes of Jinja's own filter."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _broken(error: Exception) -> ModelFileError:
    line = getattr(error, "lineno", None)
    numbers = f"{type(error).__name__}: {error}" + (f" (line {line})" if line else "")
    return ModelFileError("the model's chat template does not work", numbers)
