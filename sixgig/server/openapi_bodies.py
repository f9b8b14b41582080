"""What requests and answers hold, as JSON schemas: the fields that matter, further ones always allowed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from sixgig.gateway.limits import LONGEST_WINDOW, MOST_TEXTS
from sixgig.server.ollama_fields import (
    ChatRequest,
    EmbeddingsRequest,
    EmbedRequest,
    GenerateRequest,
    ShowRequest,
)

Shape = dict[str, Any]

_TEXT, _NUMBER, _COUNT = {"type": "string"}, {"type": "number"}, {"type": "integer", "minimum": 0}
_FLAG, _THINGS = {"type": "boolean"}, {"type": "array", "items": {"type": "object"}}
_VECTOR: Shape = {"type": ["array", "string"], "description": "Numbers, or their bytes in base64"}
_LIMIT = {"type": "integer", "minimum": -1, "maximum": (1 << 31) - 1, "examples": [64]}
_MODEL = {"type": "string", "minLength": 1, "description": "A name of /v1/models", "examples": ["demo"]}
_WINDOW = {"type": "integer", "minimum": 0, "maximum": LONGEST_WINDOW}


def reference(name: str) -> Shape:
    """To a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: Shape, optional: Shape | None = None, **more: Any) -> Shape:
    """An object with these fields, and any others."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": True,
        **more,
    }


def _list(items: Shape, **more: Any) -> Shape:
    return {"type": "array", "items": items, **more}


def _either(*shapes: Shape) -> Shape:
    return {"anyOf": list(shapes)}


def _nullable(shape: Shape) -> Shape:
    return _either(shape, {"type": "null"})


_TURN = _object(
    {"role": _TEXT, "content": _either(_TEXT, _list({"type": "object"}))}, {"tool_calls": _THINGS}
)
_TURNS = _list(_TURN, examples=[[{"role": "user", "content": "What is PEP 8?"}]])
_TEXTS = _either(_TEXT, _list(_TEXT, minItems=1, maxItems=MOST_TEXTS), _list(_COUNT, minItems=1))
_SAMPLING = {
    "max_tokens": _LIMIT,
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "top_k": {"type": "integer"},
    "seed": {"type": "integer"},
    "stop": _either(_TEXT, _list(_TEXT)),
    "stream": _FLAG,
    "repeat_last_n": _WINDOW,
    "dry_penalty_last_n": _WINDOW,
}
_FUNCTION = _object(
    {"type": {"const": "function"}, "function": _object({"name": _TEXT}, {"parameters": {"type": "object"}})}
)
_CHAT = _SAMPLING | {
    "max_completion_tokens": _LIMIT,
    "n": {"type": "integer", "minimum": 1, "description": "At most the model's parallel"},
    "stream_options": _object({}, {"include_usage": _FLAG}),
    "response_format": _object({"type": {"enum": ["text", "json_object", "json_schema"]}}),
    "tools": _list(_FUNCTION),
    "tool_choice": _either({"enum": ["none", "auto", "required"]}, {"type": "object"}),
    "logprobs": _FLAG,
    "top_logprobs": _COUNT,
}
_COUNTED = {
    "messages": _TURNS,
    "system": _either(_TEXT, _THINGS),
    "tools": _list(_object({"name": _TEXT, "input_schema": {"type": "object"}})),
}
_TURNS_OF = {"model": _MODEL, "messages": _TURNS}

REQUESTS: dict[str, Shape] = {
    "ChatCompletion": _object(_TURNS_OF, _CHAT),
    "Completion": _object({"model": _MODEL, "prompt": _TEXTS}, _SAMPLING),
    "Embeddings": _object(
        {"model": _MODEL, "input": _TEXTS}, {"encoding_format": {"enum": ["float", "base64"]}}
    ),
    "Response": _object(
        {"model": _MODEL, "input": _either(_TEXT, _THINGS)},
        {"instructions": _TEXT, "max_output_tokens": _LIMIT, "temperature": _NUMBER, "stream": _FLAG},
    ),
    "Message": _object(
        _TURNS_OF | {"max_tokens": _LIMIT},
        _COUNTED | {"stop_sequences": _list(_TEXT), "temperature": _NUMBER, "stream": _FLAG},
    ),
    "TokenCount": _object(_TURNS_OF, _COUNTED),
}
_OLLAMA: dict[str, type[BaseModel]] = {
    "OllamaChat": ChatRequest,
    "OllamaGenerate": GenerateRequest,
    "OllamaEmbed": EmbedRequest,
    "OllamaEmbeddings": EmbeddingsRequest,
    "OllamaShow": ShowRequest,
}
PARTS: dict[str, Shape] = {}  # what the requests of Ollama's API are made of
for _name, _kind in _OLLAMA.items():
    _shape = _kind.model_json_schema(ref_template="#/components/schemas/Ollama{model}")
    PARTS |= {f"Ollama{part}": shape for part, shape in _shape.pop("$defs", {}).items()}
    REQUESTS[_name] = _shape

_USAGE = _object({"prompt_tokens": _COUNT, "total_tokens": _COUNT}, {"completion_tokens": _COUNT})
_CHOICES = _list(_object({"index": _COUNT}, {"finish_reason": _nullable(_TEXT)}))
_USED = _object({"input_tokens": _COUNT, "output_tokens": _COUNT})
_LISTED = _object({"id": _TEXT, "object": {"const": "model"}, "created": _COUNT, "owned_by": _TEXT})

ANSWERS: dict[str, Shape] = {
    "ChatCompletion": _object({"id": _TEXT, "model": _TEXT, "choices": _CHOICES, "usage": _USAGE}),
    "Completion": _object({"id": _TEXT, "model": _TEXT, "choices": _CHOICES, "usage": _USAGE}),
    "Embeddings": _object({"data": _list(_object({"index": _COUNT, "embedding": _VECTOR})), "usage": _USAGE}),
    "Response": _object({"id": _TEXT, "object": {"const": "response"}, "output": _THINGS, "usage": _USED}),
    "Message": _object({"id": _TEXT, "type": {"const": "message"}, "content": _THINGS, "usage": _USED}),
    "TokenCount": _object({"input_tokens": _COUNT}),
    "Models": _object({"object": {"const": "list"}, "data": _list(reference("Model"))}),
    "Model": _LISTED,
    "OllamaAnswer": _object(
        {"model": _TEXT, "created_at": _TEXT, "done": _FLAG},
        {"response": _TEXT, "message": {"type": "object"}},
    ),
    "OllamaVectors": _object({"model": _TEXT, "embeddings": _list(_list(_NUMBER))}),
    "OllamaVector": _object({"embedding": _list(_NUMBER)}),
    "OllamaModel": _object({"details": {"type": "object"}, "capabilities": _list(_TEXT)}),
    "OllamaModels": _object({"models": _list(_object({"name": _TEXT, "size": _COUNT, "digest": _TEXT}))}),
    "Version": _object({"version": _TEXT}),
    "Receipt": _object({"id": _TEXT, "model": _TEXT, "served_by": _TEXT, "seconds": {"type": "number"}}),
    "Health": _object({"status": {"enum": ["ok", "draining"]}}),
    "Status": _object(
        {"version": _TEXT, "models": _THINGS, "queue": {"type": "object"}, "energy": {"type": "object"}}
    ),
    "Document": _object({"openapi": _TEXT, "paths": {"type": "object"}}),
}

# An event, or a line, of an answer in pieces.
PIECES: Shape = {"type": "object"}

_FAULT = _object({"message": _TEXT, "type": _TEXT})
ERRORS: dict[str, Shape] = {
    "openai": _object({"error": _FAULT}),
    "anthropic": _object({"error": _FAULT}),
    "ollama": _object({"error": _TEXT}),
}
