"""What `sixgig serve` makes of its surroundings: proxies, signals, folders, what dead servers left."""

import asyncio
from typing import Any

import pytest

from sixgig.cli.serving import _uvicorn


async def _seen_by(trusted: tuple[str, ...], client: str) -> dict[str, Any]:
    """The scope that the application gets of a request with forwarding headers."""
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    config = _uvicorn(app, trusted)
    config.load()
    told = [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https")]
    scope = {"type": "http", "client": (client, 1234), "scheme": "http", "headers": told}
    await config.loaded_app(scope, None, None)
    return dict(scopes[0])


@pytest.mark.parametrize(
    ("trusted", "client", "believed"),
    [
        ((), "127.0.0.1", False),
        (("10.0.0.0/8",), "127.0.0.1", False),
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("127.0.0.1",), "127.0.0.1", True),
    ],
)
def test_whom_a_request_is_from_is_believed_of_named_proxies_only(
    trusted: tuple[str, ...], client: str, believed: bool
) -> None:
    seen = asyncio.run(_seen_by(trusted, client))
    assert seen["client"][0] == ("203.0.113.9" if believed else client)
    assert seen["scheme"] == ("https" if believed else "http")
