"""What the server tells its owner on stderr: one event a line, JSON for programs, words on a terminal.

Nothing here takes a body, a prompt or an answer but `prompt`, which is silent unless the owner asks for it.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

from sixgig.errors import SixgigError

Value = str | int | float | bool | None
LOGGERS = ("sixgig.server", "uvicorn")  # whatever a server tells goes to one of these
_LONGEST = 300
_EVENTS = logging.getLogger(LOGGERS[0])
_TEXTS = logging.getLogger("sixgig.server.texts")
_NEVER = logging.CRITICAL + 1
_TEXTS.setLevel(_NEVER)  # not `disabled`: whoever configures logging elsewhere takes that back


@dataclass(frozen=True)
class RequestLine:
    """What became of one request. key: its name, never the secret. None: not known, or it came to none."""

    id: str
    key: str | None
    model: str
    path: str
    served_by: str | None
    status: int
    outcome: str
    input_tokens: int | None
    output_tokens: int | None
    seconds: float
    queue_s: float | None = None
    first_token_s: float | None = None


def event(name: str, /, level: int = logging.INFO, **fields: Value) -> None:
    """One line. Texts are cut at 300 characters, and what could end a line or move a cursor is escaped."""
    _EVENTS.log(level, name, extra={"fields": {key: _bounded(value) for key, value in fields.items()}})


def request(line: RequestLine) -> None:
    """The line of a request that has ended."""
    event("request", **vars(line))


def prompt(request_id: str, body: bytes) -> None:
    """What a client asked, whole; nothing unless `start` was told log_prompts."""
    if _TEXTS.isEnabledFor(logging.INFO):
        content = body.decode("utf-8", "replace")
        _TEXTS.info("prompt", extra={"fields": {"id": request_id, "content": content}})


def start(
    stream: IO[str] | None = None,
    as_json: bool | None = None,
    log_prompts: bool = False,
    level: int = logging.INFO,
) -> None:
    """Write events and uvicorn's messages to `stream`, stderr. as_json: None, where that is no terminal."""
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    plain = stream.isatty() if as_json is None else not as_json
    handler.setFormatter(_Words() if plain else _JsonLine())
    for logger in map(logging.getLogger, LOGGERS):
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = True
    _TEXTS.setLevel(level if log_prompts else _NEVER)


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head = {"time": moment, "level": record.levelname.lower(), "event": record.getMessage()}
        fields = {name: _finite(value) for name, value in _fields(record).items()}
        return json.dumps({**head, **{name: value for name, value in fields.items() if name not in head}})


class _Words(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()} "
        fields = [f"{name}={_word(value)}" for name, value in _fields(record).items() if value is not None]
        return " ".join([moment, level + _printable(record.getMessage()), *fields])


def _fields(record: logging.LogRecord) -> dict[str, Value]:
    fields: dict[str, Value] = dict(getattr(record, "fields", {}))
    if record.exc_info and record.exc_info[1] is not None:
        fields["exception"] = _told(record.exc_info[1])
    return fields


def _told(error: BaseException) -> str:
    """Kind and place. The words of an exception that is not ours may quote a prompt."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " > ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-8:])
    return f"{type(error).__name__} at {places or 'no place'}" + (
        f": {error}" if isinstance(error, SixgigError) else ""
    )


def _bounded(value: Any) -> Value:
    if value is None or isinstance(value, bool | int | float):
        return value
    words = str(value)
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 3]}..."


def _finite(value: Value) -> Value:
    """Seconds to the microsecond; JSON knows no NaN."""
    if not isinstance(value, float):
        return value
    return round(value, 6) if math.isfinite(value) else None


def _word(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if not isinstance(value, str):
        return str(value)
    bare = value and value.isprintable() and not set(value) & set(' "=\\')
    return value if bare else json.dumps(value)


def _printable(words: str) -> str:
    return words if words.isprintable() else json.dumps(words)
