"""Requests' bodies: of a kind that is understood, and never more of one than allowed."""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from sixgig.gateway.answer import RefusedError
from sixgig.units import format_bytes

_BODILESS = ("GET", "HEAD", "OPTIONS")
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"
_UTF8 = re.compile(r'charset *= *("?)utf-?8\1', re.IGNORECASE)


class LimitedBody:
    """Stands for `receive`. Raises RefusedError (413) instead of passing on more than limit_bytes.

    exceeded: it has done so; whatever the application makes of that is no answer to the client.
    """

    def __init__(self, receive: Receive, limit_bytes: int) -> None:
        self.exceeded = False
        self._receive, self._limit_bytes, self._passed_bytes = receive, limit_bytes, 0

    async def __call__(self) -> Message:
        """The next message, counted."""
        message = await self._receive()
        self._passed_bytes += len(message.get("body", b""))
        if self._passed_bytes > self._limit_bytes:
            self.exceeded = True
            raise too_large(self._limit_bytes)
        return message


def too_large(limit_bytes: int) -> RefusedError:
    """Status 413."""
    what = "the body is larger than this server takes"
    return RefusedError(413, what, f"max_body is {format_bytes(limit_bytes)}", "send less, or raise max_body")


def check_length(headers: Headers, limit_bytes: int) -> None:
    """Raises RefusedError: 400 for a Content-Length that is no number, 413 for one above the limit."""
    lengths = set(headers.getlist("content-length"))
    if any(not (length.isascii() and length.isdigit()) for length in lengths) or len(lengths) > 1:
        raise RefusedError(400, "Content-Length must be one number", "", "send one, or none")
    if any(len(length) > 18 or int(length) > limit_bytes for length in lengths):
        raise too_large(limit_bytes)


def check_content(method: str, path: str, headers: Headers) -> None:
    """Raises RefusedError (415) for what is not JSON in UTF-8, uncompressed.

    As a real Ollama does, ``/api/`` takes JSON under a form's name, or under none, as curl sends it; not from
    a browser, where a page may send both to any server without asking.
    """
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise RefusedError(415, "compressed bodies are not taken", "", "send it as it is")
    if method in _BODILESS or _is_json(headers.getlist("content-type")):
        return
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    from_page = "origin" in headers or "sec-fetch-site" in headers
    if path.startswith("/api/") and kind in ("", _FORM) and not from_page:
        return
    if not kind and not _has_body(headers):
        return
    numbers = f"Content-Type: {kind[:80]!a}" if kind else "no Content-Type"
    raise RefusedError(415, "the body must be JSON in UTF-8", numbers, f"send Content-Type: {_JSON}")


def _is_json(types: list[str]) -> bool:
    """One type, and where it names a character set, UTF-8."""
    if len(types) != 1:
        return False
    kind, *parameters = (part.strip() for part in types[0].split(";"))
    sets = [parameter for parameter in parameters if parameter.lower().startswith("charset")]
    return kind.lower() == _JSON and all(_UTF8.fullmatch(charset) for charset in sets)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""
