"""The secret in a request's headers, where each API's clients put it."""

from __future__ import annotations

import base64

from starlette.datastructures import Headers

OPEN_PATHS = ("/health",)
_PAGES, _PAGE_FILES = ("/", "/status.json", "/metrics"), "/page/"
SECRET_HEADERS = (b"authorization", b"x-api-key")


def is_page(path: str) -> bool:
    """Whether a browser or Prometheus asks for it, which know names and passwords only."""
    return path in _PAGES or path.startswith(_PAGE_FILES)


def secret_in(headers: Headers, path: str) -> str | None:
    """Of ``Authorization: Bearer``, of ``x-api-key``, and for pages the password of ``Authorization: Basic``.

    None for no secret, or for several in one header, of which nobody knows which is meant.
    """
    for name in ("authorization", "x-api-key"):
        values = headers.getlist(name)
        if len(values) > 1:
            return None
        secret = _secret(name, values[0], path) if values else None
        if secret:
            return secret
    return None


def challenge(path: str) -> str:
    """WWW-Authenticate of a 401: a browser asks its user where it says Basic."""
    return 'Basic realm="sixgig", charset="UTF-8"' if is_page(path) else 'Bearer realm="sixgig"'


def _secret(name: str, value: str, path: str) -> str | None:
    if name == "x-api-key":
        return value.strip()
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    return _password(rest.strip()) if scheme.lower() == "basic" and is_page(path) else None


def _password(encoded: str) -> str | None:
    """What follows the name, whatever that is."""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except ValueError:
        return None
