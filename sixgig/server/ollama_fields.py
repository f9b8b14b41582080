"""What Ollama's clients ask, checked field by field. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, ValidationError, model_validator

from sixgig.errors import UsageError
from sixgig.settings.durations import parse_duration

_SHOWN_ERRORS, _LONGEST_PLACE = 3, 80
# The engine keeps so many tokens for every request that asks for it, outside of its budget.
_MOST_REPEATED = 1 << 16
_SEEDS = 1 << 32  # the engine's seeds have 32 bits; -1 becomes its own mark for a random one


def _format(value: Any) -> Any:
    if value is None or value in ("", "json") or isinstance(value, dict):
        return value
    raise ValueError('should be "json" or a JSON schema')


def _keep_alive(value: Any) -> Any:
    if value is None or isinstance(value, float | int | str):
        return None if value is None or value == "" else _duration(value)
    raise ValueError('should be a duration such as "5m", or seconds')


def _duration(value: str | float) -> float:
    try:
        return parse_duration(value)
    except UsageError as error:
        raise ValueError(str(error)) from error


_Int = Annotated[int | None, Field(ge=-(1 << 31), lt=1 << 31)]
_Format = Annotated[str | dict[str, Any] | None, BeforeValidator(_format)]
_KeepAlive = Annotated[float | None, BeforeValidator(_keep_alive)]


class _FirstFault(FailFast):
    """A list's first fault is enough, of a hundred thousand. With a hash, which unions want."""

    __hash__ = object.__hash__


_Entry = TypeVar("_Entry")
_List = Annotated[list[_Entry], _FirstFault()]


class _Loose(BaseModel):
    """As Ollama does, takes fields it does not know; they are told in `ignored`."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, protected_namespaces=())


class Options(_Loose):
    """Sampling. What concerns loading (num_ctx, num_gpu, ...) is the owner's to decide, and ignored."""

    temperature: float | None = None
    top_k: _Int = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    seed: Annotated[int | None, Field(ge=-(1 << 63), lt=1 << 63)] = None
    stop: _List[str] | None = None
    num_predict: _Int = None
    repeat_penalty: float | None = None
    repeat_last_n: _Int = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    mirostat: _Int = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None

    def engine_fields(self, limit: str) -> dict[str, Any]:
        """Under the engine's names; `limit`: what it calls num_predict. Below 1 that means no limit."""
        given = self.model_dump(include=set(type(self).model_fields), exclude_none=True)
        predict = given.pop("num_predict", 0)
        if "seed" in given:
            given["seed"] %= _SEEDS
        if "repeat_last_n" in given:  # below zero: the whole context
            last = given["repeat_last_n"]
            given["repeat_last_n"] = min(last, _MOST_REPEATED) if last >= 0 else _MOST_REPEATED
        return given | ({limit: predict} if predict > 0 else {})


class Function(_Loose):
    """A call's name, and its arguments by name."""

    name: str
    arguments: dict[str, Any] = {}


class ToolCall(_Loose):
    """A call that the model made earlier."""

    function: Function
    id: str | None = None


class ToolFunction(_Loose):
    """What the model may call; parameters: a JSON schema."""

    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(_Loose):
    """A tool on offer."""

    type: Literal["function"] = "function"
    function: ToolFunction

    def engine_tool(self) -> dict[str, Any]:
        """As given, with its type."""
        return {"type": self.type} | self.model_dump(exclude_unset=True)


class Message(_Loose):
    """One turn of a chat."""

    role: str = Field(min_length=1)
    content: str | None = None
    thinking: str | None = None
    images: _List[str] | None = None
    tool_calls: _List[ToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class ModelRequest(_Loose):
    """What requests to any model have in common."""

    model: str = Field(min_length=1)
    options: Options | None = None
    keep_alive: _KeepAlive = None

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names of what was given and does nothing here."""
        options = self.options.model_extra if self.options else None
        return (*(self.model_extra or ()), *(f"options.{name}" for name in options or ()))


class AnswerRequest(ModelRequest):
    """What requests for an answer have in common."""

    format: _Format = None
    stream: bool | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=20)] = None

    @property
    def is_streamed(self) -> bool:
        """Ollama's default is a stream."""
        return self.stream is not False

    def sampling(self, limit: str = "max_tokens") -> dict[str, Any]:
        """What steers the answer, the same for each kind of it."""
        fields = (self.options or Options()).engine_fields(limit) | {"stream": self.is_streamed}
        return fields | ({"stream_options": {"include_usage": True}} if self.is_streamed else {})


class ChatRequest(AnswerRequest):
    """POST /api/chat."""

    messages: _List[Message] | None = None
    tools: _List[Tool] | None = None


class GenerateRequest(AnswerRequest):
    """POST /api/generate."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    raw: bool | None = None
    images: _List[str] | None = None


class EmbedRequest(ModelRequest):
    """POST /api/embed."""

    input: str | _List[str] = []
    truncate: bool | None = None
    dimensions: Annotated[int | None, Field(ge=0)] = None

    @property
    def texts(self) -> list[str]:
        """The inputs; none for an empty one, which asks for the model to be loaded."""
        if isinstance(self.input, str):
            return [self.input] if self.input else []
        return self.input


class EmbeddingsRequest(ModelRequest):
    """POST /api/embeddings, which /api/embed superseded."""

    prompt: str | None = None


class ShowRequest(_Loose):
    """POST /api/show; older clients say "name"."""

    model: str = ""
    name: str = ""

    @model_validator(mode="after")
    def _is_named(self) -> Self:
        self.model = self.model or self.name
        if not self.model:
            raise ValueError("model is required")
        return self


_Request = TypeVar("_Request", bound=BaseModel)


def parse(kind: type[_Request], body: bytes) -> _Request:
    """The request. Raises UsageError that names what is wrong, and where."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        wrong = ", ".join(_fault(fault["loc"], fault["msg"]) for fault in faults[:_SHOWN_ERRORS])
        raise UsageError("the request cannot be read", wrong) from error


def _fault(place: tuple[int | str, ...], words: str) -> str:
    where = ".".join(str(part) for part in place)[:_LONGEST_PLACE]
    return f"{where}: {words}" if where else words
