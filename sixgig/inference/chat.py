"""A model's chat template, rendered as transformers' apply_chat_template renders it."""

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
from sixgig.inference.engine import Engine

Message = Mapping[str, Any]
PLAIN = (
    "{% for message in messages %}{{ message.role | capitalize }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


class _GenerationTag(Extension):
    """The {% generation %} block: marks the assistant's words for training; here its body and no more."""

    tags = {"generation"}  # noqa: RUF012 (the base class declares it so)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The nodes between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """Messages to prompt text. `notice` is "" or says that the model brought no template.

    Raises ModelFileError when the template is broken or uses what the sandbox forbids.
    """

    def __init__(self, source: str | None, bos: str = "", eos: str = "") -> None:
        self.notice = "" if source else "the model has no chat template: plain 'User:' and 'Assistant:' lines"
        self._tokens = {"bos_token": bos, "eos_token": eos}
        try:
            self._template = _environment().from_string(source or PLAIN)
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
        """The prompt. Messages map "role" and "content"; `variables` reach the template as named."""
        names = self._tokens | variables
        try:
            return self._template.render(
                messages=list(messages),
                tools=tools,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **names,
            )
        except Exception as error:  # the template is foreign code: whatever it raises is its own fault
            raise _broken(error) from error


def chat_template(engine: Engine) -> ChatTemplate:
    """The template of the model that `engine` has open, or the plain one."""
    return ChatTemplate(engine.chat_template, engine.vocabulary.bos, engine.vocabulary.eos)


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
