"""What one answer took: its line of the ledger, for the client that got it. A stream knows at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Set

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sixgig.gateway.answer import RefusedError
from sixgig.ledger import Entry
from sixgig.server.shapes import error_body

_LOOKS, _PAUSE_S = 20, 0.05  # an answer's last byte is sent before its line is written


async def receipt(recent: Mapping[str, Entry], under_way: Set[str], request: Request) -> Response:
    """GET /requests/ID, the x-request-id of one of the last thousand answers, with the key it came with.

    recent, under_way: entries and ids of requests, as they are at any moment.
    """
    key = request.scope.get("state", {}).get("key")
    for _ in range(_LOOKS):
        entry = recent.get(request.path_params["id"])
        if entry is not None and entry.key == (key.name if key else ""):
            return JSONResponse(vars(entry))
        if request.path_params["id"] not in under_way:
            break
        await asyncio.sleep(_PAUSE_S)
    missing = RefusedError(404, "no such request was answered lately", cure="use the answer's x-request-id")
    return Response(error_body("openai", 404, missing), 404, media_type="application/json")
