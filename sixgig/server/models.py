"""Which models there are, as OpenAI's and Anthropic's clients ask for them."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sixgig.engines import Seated
from sixgig.gateway.answer import RefusedError
from sixgig.gateway.gateway import Gateway
from sixgig.server.shapes import api_of, error_body

_NANO = 10**9


async def model_list(gateway: Gateway, _request: Request) -> Response:
    """GET /v1/models: the models here, and their other names."""
    models = [_model(seated, name) for name, seated in gateway.fleet.models.items()]
    models += [_model(gateway.fleet.models[name], alias) for alias, name in gateway.names.listed.items()]
    return JSONResponse({"object": "list", "data": models})


async def one_model(gateway: Gateway, request: Request) -> Response:
    """GET /v1/models/NAME."""
    name = request.path_params["name"]
    seated = gateway.fleet.models.get(gateway.names.resolve(name))
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
