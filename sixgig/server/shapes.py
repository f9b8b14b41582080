"""Errors as each API's own clients understand them: as a body, and as an event of a stream under way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sixgig.errors import SixgigError
from sixgig.gateway.admission import QueueFullError
from sixgig.gateway.answer import RefusedError, TooLongError, status_of
from sixgig.gateway.call import Api

RETRY_AFTER_S = 5
_TOO_LONG = "exceed_context_size_error"  # as llama.cpp's server calls it
_TRANSIENT = (429, 503)


class _Kind(NamedTuple):
    openai_type: str
    openai_code: str | None
    anthropic_type: str


# https://platform.openai.com/docs/guides/error-codes, https://docs.anthropic.com/en/api/errors
_KINDS = {
    400: _Kind("invalid_request_error", None, "invalid_request_error"),
    401: _Kind("invalid_request_error", "invalid_api_key", "authentication_error"),
    403: _Kind("invalid_request_error", "forbidden", "permission_error"),
    404: _Kind("invalid_request_error", "not_found", "not_found_error"),
    413: _Kind("invalid_request_error", "request_too_large", "request_too_large"),
    429: _Kind("rate_limit_error", "rate_limit_exceeded", "rate_limit_error"),
    503: _Kind("server_error", "server_overloaded", "overloaded_error"),
    504: _Kind("server_error", "timeout", "timeout_error"),
    507: _Kind("server_error", "out_of_memory", "api_error"),
}
_CLIENT_FAULT, _SERVER_FAULT = _KINDS[400], _Kind("server_error", "server_error", "api_error")


def api_of(path: str, headers: Mapping[str, str]) -> Api:
    """Whose clients ask under this path. Two APIs have /v1/models: Anthropic's clients name its version."""
    if path.startswith("/v1/messages") or (path.startswith("/v1/models") and "anthropic-version" in headers):
        return "anthropic"
    if path.startswith("/v1/responses"):
        return "responses"
    return "ollama" if path.startswith("/api/") else "openai"


def error_headers(error: SixgigError) -> dict[str, str]:
    """Content type, and when to ask again where that may help. Where it cannot, X-Should-Retry tells so to
    OpenAI's and Anthropic's own clients, which repeat whatever fails with 5xx.
    """
    status = status_of(error)
    headers = {"Content-Type": "application/json"}
    if status in _TRANSIENT:
        headers["Retry-After"] = str(
            error.retry_after_s if isinstance(error, QueueFullError) else RETRY_AFTER_S
        )
    elif status >= 500:
        headers["X-Should-Retry"] = "false"
    return headers


def error_body(api: Api, status: int, error: SixgigError) -> bytes:
    """A whole JSON body."""
    match api:
        case "anthropic":
            return _json(_anthropic(status, _anthropic_words(error)))
        case "ollama":
            return _json({"error": str(error)})
    return _json({"error": _openai(status, error)})


def passed_error(api: Api, status: int, body: bytes) -> bytes:
    """An error of the engine's in the API's shape; it comes in OpenAI's."""
    if api != "anthropic":
        return body
    try:
        document = json.loads(body)
        if document.get("type") == "error":
            return body
        error = document["error"]
        message = str(error["message"])
        too_long = error.get("type") == _TOO_LONG
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return _json(_anthropic(status, body.decode("utf-8", "replace")[:500]))
    if too_long:
        message = _prompt_too_long(error.get("n_prompt_tokens"), error.get("n_ctx"))
    return _json(_anthropic(status, message))


def error_event(api: Api, error: SixgigError, sequence_number: int = 0) -> bytes:
    """The last event of a stream that cannot go on: a server-sent event, or Ollama's line of JSON.

    What was sent before must have ended with a whole event. sequence_number: of Responses' events, each one
    more than the last.
    """
    status = status_of(error)
    match api:
        case "ollama":
            return _json({"error": str(error)}) + b"\n"
        case "anthropic":
            return b"event: error\ndata: " + _json(_anthropic(status, _anthropic_words(error))) + b"\n\n"
        case "responses":
            return b"event: error\ndata: " + _json(_response(status, error, sequence_number)) + b"\n\n"
    return b"data: " + _json({"error": _openai(status, error)}) + b"\n\n"


def _openai(status: int, error: SixgigError) -> dict[str, Any]:
    kind = _kind(status)
    fields = {"message": str(error), "type": kind.openai_type, "code": kind.openai_code, "param": None}
    if isinstance(error, TooLongError):  # as llama.cpp's server says it
        sizes = {"n_prompt_tokens": error.n_prompt_tokens, "n_ctx": error.n_context}
        return fields | {"code": status, "type": _TOO_LONG} | sizes
    return fields | dict(error.told if isinstance(error, RefusedError) else {})


def _anthropic(status: int, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": _kind(status).anthropic_type, "message": message}}


def _anthropic_words(error: SixgigError) -> str:
    if isinstance(error, TooLongError):
        return _prompt_too_long(error.n_prompt_tokens, error.n_context)
    return str(error)


def _prompt_too_long(n_prompt_tokens: object, n_context: object) -> str:
    """In Anthropic's own words, by which its clients know that they have to shorten what they send."""
    return f"prompt is too long: {n_prompt_tokens} tokens > {n_context} maximum"


def _response(status: int, error: SixgigError, sequence_number: int) -> dict[str, Any]:
    """As documented, fields at the top, and once more under "error", by which OpenAI's client raises."""
    fields = _openai(status, error)
    return {**fields, "type": "error", "sequence_number": sequence_number, "error": fields}


def _kind(status: int) -> _Kind:
    return _KINDS.get(status, _CLIENT_FAULT if status < 500 else _SERVER_FAULT)


def _json(document: dict[str, Any]) -> bytes:
    """ASCII, so that no text can end a line or an event."""
    return json.dumps(document).encode()
