"""Requests that schemathesis makes up from /openapi.json, good and bad, and answers held against it."""

from __future__ import annotations

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Route

from sixgig.server.app import all_routes, passed
from sixgig.server.openapi import openapi_document
from tests.serve.fake_engines import ROOM, card
from tests.serve.served import gateway_of

ANSWER_S, SHORT = 60, 3
HONEST = (503, 507)
CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


# Without Ollama's requests: a run over /api/chat did not end within minutes, and why is not known yet.
schema = schemathesis.openapi.from_dict(openapi_document()).exclude(path_regex="^/api/", method="POST")


def aim(case):
    """At a model that is here, for else most would end with 404; and answers are kept short."""
    body = case.body
    if not isinstance(body, dict):
        return
    if isinstance(body.get("model"), str):
        body["model"] = "embedder" if case.path == "/v1/embeddings" else "demo"
    for name in LIMITS:
        if not isinstance(body.get(name), str | list | dict):
            body[name] = SHORT


@schema.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_nothing_made_up_from_the_document_breaks_the_server_or_its_word(served, case):
    aim(case)
    response = case.call(base_url=served.url, timeout=ANSWER_S)
    assert response.status_code < 500 or response.status_code in HONEST, response.text
    assert response.status_code != 503 or response.headers["retry-after"]
    case.validate_response(response, checks=CHECKS)


def test_the_server_shows_the_document(served):
    assert httpx.get(f"{served.url}/openapi.json").json() == openapi_document()


def test_the_document_has_every_path_of_the_server():
    with gateway_of([card("demo")], ROOM) as gateway:
        routes = [route for route in all_routes(gateway, passed(gateway)) if isinstance(route, Route)]
    served = {
        (method.lower(), route.path.replace(":path", ""))
        for route in routes
        for method in route.methods - {"HEAD"}
        if len(route.methods) < 3
    }
    told = {(method, path) for path, methods in openapi_document()["paths"].items() for method in methods}
    assert served == told
