"""What the server offers, as an OpenAPI 3.1 document. Pure.

Covers what every client may rely on; engines take further fields, which pass through. `openapi_bodies` has
what requests and answers hold.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sixgig import __version__
from sixgig.server.openapi_bodies import ANSWERS, ERRORS, PARTS, PIECES, REQUESTS, Shape, reference

_JSON, _EVENTS, _LINES, _TEXT = "application/json", "text/event-stream", "application/x-ndjson", "text/plain"
_HTML = "text/html"
# What may happen to any request, and to one that an engine answers.
_ALWAYS, _ENGINE = (400, 401, 403, 405, 421, 431), (402, 404, 413, 415, 429, 500, 502, 503, 504, 507)
_REASONS = {
    400: "The request cannot be answered as it stands",
    401: "A key is needed, or this one is not known",
    402: "The spending cap is reached",
    403: "Pages of other sites may not ask, or the request may not leave this machine",
    404: "Not here",
    405: "Not with this method",
    413: "The body is too large",
    415: "The body is not JSON in UTF-8",
    421: "This server does not go by that host",
    429: "Too much asked of an upstream",
    431: "The headers are too large",
    500: "The model cannot be loaded",
    501: "Not part of this server",
    502: "The upstream failed",
    503: "Busy, or the engine ended: ask again after Retry-After",
    504: "The upstream took too long",
    507: "The model does not fit in the memory budget",
}


class _Operation(NamedTuple):
    """request, answer: names in REQUESTS and ANSWERS. streams: the type of an answer that comes in pieces."""

    method: str
    path: str
    summary: str
    api: str = "openai"
    request: str | None = None
    answer: str | None = None
    streams: str | None = None
    content_type: str = _JSON
    errors: tuple[int, ...] = ()


def _post(path: str, summary: str, api: str, request: str, answer: str, streams: str | None) -> _Operation:
    return _Operation("post", path, summary, api, request, answer, streams, errors=_ENGINE)


_OPERATIONS = (
    _post("/v1/chat/completions", "Answer a chat", "openai", "ChatCompletion", "ChatCompletion", _EVENTS),
    _post("/v1/completions", "Continue a text", "openai", "Completion", "Completion", _EVENTS),
    _post("/v1/embeddings", "Embed texts", "openai", "Embeddings", "Embeddings", None),
    _post("/v1/responses", "Answer as OpenAI's Responses", "openai", "Response", "Response", _EVENTS),
    _post("/v1/messages", "Answer as Anthropic's Messages", "anthropic", "Message", "Message", _EVENTS),
    _post("/v1/messages/count_tokens", "Count a prompt", "anthropic", "TokenCount", "TokenCount", None),
    _Operation("get", "/v1/models", "The models here", answer="Models"),
    _Operation("get", "/v1/models/{name}", "One model", answer="Model", errors=(404,)),
    _post("/api/chat", "Answer a chat", "ollama", "OllamaChat", "OllamaAnswer", _LINES),
    _post("/api/generate", "Answer a prompt", "ollama", "OllamaGenerate", "OllamaAnswer", _LINES),
    _post("/api/embed", "Embed texts", "ollama", "OllamaEmbed", "OllamaVectors", None),
    _post("/api/embeddings", "Embed one text", "ollama", "OllamaEmbeddings", "OllamaVector", None),
    _post("/api/show", "One model", "ollama", "OllamaShow", "OllamaModel", None),
    _Operation("get", "/api/tags", "The models here", "ollama", answer="OllamaModels"),
    _Operation("get", "/api/ps", "The loaded models", "ollama", answer="OllamaModels"),
    _Operation("get", "/api/version", "Ollama's version, whose API this is", "ollama", answer="Version"),
    _Operation("get", "/requests/{id}", "What one answer took and cost", answer="Receipt", errors=(404,)),
    _Operation("get", "/health", "Whether it serves; needs no key", answer="Health"),
    _Operation("get", "/status.json", "All figures of the status page", answer="Status"),
    _Operation("get", "/metrics", "The same for Prometheus", content_type=_TEXT),
    _Operation("get", "/openapi.json", "This document", answer="Document"),
    _Operation("get", "/", "The status page", content_type=_HTML),
)


def openapi_document() -> Shape:
    """The document, ready for JSON."""
    paths: Shape = {}
    for operation in _OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    schemas = {f"{name}Request": shape for name, shape in REQUESTS.items()} | PARTS | ANSWERS
    schemas |= {f"{api}Error": shape for api, shape in ERRORS.items()}
    keys = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "sixgig serve", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": keys},
        "security": [{"bearer": []}, {"apiKey": []}, {}],
    }


def _operation(operation: _Operation) -> Shape:
    answers = {"200": _answer(operation)} | {
        str(status): _error(operation.api, status) for status in sorted({*_ALWAYS, *operation.errors})
    }
    described: Shape = {"summary": operation.summary, "responses": answers}
    if operation.request is not None:
        schema = reference(f"{operation.request}Request")
        described["requestBody"] = {"required": True, "content": {_JSON: {"schema": schema}}}
    described |= _parameters(operation.path)
    return described


def _parameters(path: str) -> Shape:
    schema = {"type": "string", "minLength": 1}
    names = [name for name in ("name", "id") if f"{{{name}}}" in path]
    found = [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]
    return {"parameters": found} if found else {}


def _answer(operation: _Operation) -> Shape:
    schema: Any = {} if operation.answer is None else {"schema": reference(operation.answer)}
    content = {operation.content_type: schema}
    if operation.streams is not None:
        content[operation.streams] = {"schema": PIECES}
    headers = {
        "x-served-by": _header("local, or the upstream's name"),
        "x-request-id": _header("Its number"),
        "x-sixgig-ignored": _header("Names of fields that did nothing, where there are any"),
    }
    told = {"headers": headers} if operation.errors == _ENGINE and operation.api != "ollama" else {}
    return {"description": "Done", "content": content, **told}


def _error(api: str, status: int) -> Shape:
    """A wrong method is refused before it is known whose clients ask."""
    if status == 405:
        return {"description": _REASONS[status]}
    headers = {"headers": {"Retry-After": _header("Seconds")}} if status == 503 else {}
    content = {_JSON: {"schema": reference(f"{api}Error")}}
    return {"description": _REASONS[status], "content": content, **headers}


def _header(description: str) -> Shape:
    return {"description": description, "schema": {"type": "string"}}
