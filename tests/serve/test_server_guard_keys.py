"""Keys at the door: without a good one only /health answers."""

import base64

import pytest

from sixgig.server.keys import Keyring
from tests.serve.guarded import DIGEST, HERE, SECRET, Pairs, ask


def basic(password: str) -> tuple[str, str]:
    return "authorization", "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


@pytest.mark.parametrize(
    "header",
    [("authorization", f"Bearer {SECRET}"), ("authorization", f"bearer  {SECRET} "), ("x-api-key", SECRET)],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/tags", "/status.json"])
def test_a_key_opens_where_clients_put_it_and_goes_no_further(header: tuple[str, str], path: str) -> None:
    reply = ask(HERE, header, ("x-other", "1"), path=path, secret=None)
    assert reply.status == 200
    (scope,) = reply.inner.scopes
    assert scope["state"]["key"].name == "laptop" and scope["state"]["shared"] == 1
    assert SECRET.encode() not in b" ".join(value for _, value in scope["headers"])
    assert (b"x-other", b"1") in scope["headers"]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", SECRET)],
        [("authorization", f"Token {SECRET}")],
        [("authorization", f"Bearer {SECRET}x")],
        [("authorization", f"Bearer {DIGEST}")],
        [("authorization", f"Bearer {SECRET}"), ("authorization", "Bearer x")],
        [("x-api-key", "x")],
        [("x-api-key", SECRET), ("x-api-key", SECRET)],
        [basic(SECRET)],
        [("cookie", f"key={SECRET}")],
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/api/tags", "//health", "/health/", "/health/../v1/models"])
def test_without_a_good_key_nothing_opens(headers: Pairs, path: str) -> None:
    reply = ask(HERE, *headers, path=path, secret=None)
    assert (reply.status, reply.reached) == (401, False)
    assert reply.header("www-authenticate") == 'Bearer realm="sixgig"'
    assert SECRET.encode() not in reply.body


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/status.json", "/metrics"])
def test_pages_open_with_the_key_as_a_password(path: str) -> None:
    assert ask(HERE, basic(SECRET), path=path, secret=None).status == 200
    for wrong in (
        basic("x"),
        basic(""),
        ("authorization", "Basic !"),
        ("authorization", "Basic /w=="),
        ("x", "y"),
    ):
        reply = ask(HERE, wrong, path=path, secret=None)
        assert (reply.status, reply.reached) == (401, False)
        assert str(reply.header("www-authenticate")).startswith("Basic realm=")


def test_health_is_open_and_knows_nobody() -> None:
    reply = ask(HERE, path="/health", secret=None)
    assert (reply.status, reply.inner.scopes[0]["state"]["key"]) == (200, None)


def test_without_keys_any_is_as_good_as_none() -> None:
    for secret in (None, "ollama"):
        reply = ask(HERE, keys=Keyring(), secret=secret)
        assert (reply.status, reply.inner.scopes[0]["state"]["key"]) == (200, None)


def test_a_stranger_learns_nothing_about_bodies() -> None:
    for wrong in (("content-length", "999999"), ("content-type", "text/plain")):
        assert ask(HERE, wrong, method="POST", secret=None).status == 401
