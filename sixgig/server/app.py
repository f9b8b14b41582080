"""The HTTP application: every path, and what guards them all."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sixgig.errors import SixgigError
from sixgig.gateway.answer import RefusedError
from sixgig.gateway.gateway import Gateway
from sixgig.gateway.metrics import CONTENT_TYPE
from sixgig.server.guards import Guards
from sixgig.server.keys import Keyring
from sixgig.server.models import model_list, one_model
from sixgig.server.ollama import ollama_routes
from sixgig.server.ollama_backend import Backend
from sixgig.server.openapi import openapi_document
from sixgig.server.page import page_routes
from sixgig.server.passing import PATHS, PassThrough
from sixgig.server.receipts import receipt
from sixgig.server.shapes import api_of, error_body, error_headers

_OUR_BUG = 500


def make_app(gateway: Gateway) -> ASGIApp:
    """The whole server on one gateway, which runs from the first request to shutdown."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with gateway.running():
            yield

    passing = {path: ServerErrorMiddleware(app, handler=_failed) for path, app in passed(gateway).items()}
    app = Starlette(
        routes=all_routes(gateway, passing),
        lifespan=lifespan,
        exception_handlers={HTTPException: _in_shape, Exception: _failed},
    )

    async def shortest(scope: Scope, receive: Receive, send: Send) -> None:
        """Routing takes a tenth of a request's time here; most of them go to these few paths."""
        direct = passing.get(scope["path"]) if scope.get("method") == "POST" else None
        await (direct or app)(scope, receive, send)

    settings = gateway.settings
    return Guards(shortest, settings.server, Keyring(settings.keys), settings.timeouts)


def passed(gateway: Gateway) -> dict[str, PassThrough]:
    """The paths whose protocol the engine speaks itself."""
    heartbeat_s = gateway.settings.timeouts.heartbeat_s
    return {path: PassThrough(path, gateway.exchange, gateway.names, heartbeat_s) for path in PATHS}


def all_routes(gateway: Gateway, passing: Mapping[str, ASGIApp]) -> list[BaseRoute]:
    """Every path, each endpoint with what it needs of the gateway; passing: as passed() has them."""
    fleet, names = gateway.fleet, gateway.names
    backend = Backend(gateway.exchange, fleet, names)
    return [
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in passing.items()),
        Route("/v1/models", partial(model_list, fleet.models, names)),
        Route("/v1/models/{name:path}", partial(one_model, fleet.models, names)),
        *ollama_routes(backend, gateway.settings.timeouts.heartbeat_s),
        *page_routes(),
        *_own_routes(gateway),
    ]


async def _in_shape(request: Request, error: Exception) -> Response:
    """No such path, or not with this method, as the path's own clients understand it."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    refused = RefusedError(error.status_code, error.detail.lower(), f"{request.method} {path[:80]!a}")
    body = error_body(api_of(path, request.headers), error.status_code, refused)
    return Response(body, error.status_code, error.headers, "application/json")


async def _failed(request: Request, error: Exception) -> Response:
    """A fault of our own, before the first byte; uvicorn logs it."""
    failure = SixgigError("the server failed", type(error).__name__, "see its log")
    body = error_body(api_of(request.url.path, request.headers), _OUR_BUG, failure)
    return Response(body, _OUR_BUG, error_headers(failure))


def _own_routes(gateway: Gateway) -> list[BaseRoute]:
    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "draining" if gateway.status.draining else "ok"})

    async def status(_request: Request) -> Response:
        return JSONResponse(gateway.status.latest)

    async def metrics(_request: Request) -> Response:
        return Response(gateway.metrics.text(), media_type=CONTENT_TYPE)

    async def document(_request: Request) -> Response:
        return JSONResponse(openapi_document())

    return [
        Route("/openapi.json", document),
        Route("/requests/{id}", partial(receipt, gateway.books.recent, gateway.exchange.under_way)),
        Route("/health", health),
        Route("/status.json", status),
        Route("/metrics", metrics),
    ]
