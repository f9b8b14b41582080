"""Which models there are, as OpenAI's and Anthropic's clients ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sixgig.engines import Seated
from sixgig.gateway.answer import RefusedError
from sixgig.gateway.names import Names
from sixgig.server.shapes import api_of, error_body

_NANO = 10**9


async def model_list(models: Mapping[str, Seated], names: Names, _request: Request) -> Response:
    """GET /v1/models: the models here, and their other names."""
    listed = [*models.items(), *((alias, models[name]) for alias, name in names.listed.items())]
    return JSONResponse({"object": "list", "data": [_model(seated, name) for name, seated in listed]})


async def one_model(models: Mapping[str, Seated], names: Names, request: Request) -> Response:
    """GET /v1/models/NAME."""
    name = request.path_params["name"]
    seated = models.get(names.resolve(name))
    if seated is not None:
        return JSONResponse(_model(seated, name))
    missing = RefusedError(404, f"the model {name[:60]!a} is not here", cure="GET /v1/models lists them")
    return Response(
        error_body(api_of(request.url.path, request.headers), 404, missing),
        404,
        media_type="application/json",
    )


def _model(seated: Seated, name: str) -> dict[str, Any]:
    """OpenAI's fields, and what Anthropic's client reads of the same document; name: as it is asked for."""
    card = seated.card
    return {
        "id": name,
        "object": "model",
        "type": "model",
        "created": card.modified_ns // _NANO,
        "owned_by": "sixgig",
        "display_name": card.name,
        "context_length": card.context,
    }
