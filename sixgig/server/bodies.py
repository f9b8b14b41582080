"""Requests' bodies: of a kind that is understood, and never more of one than allowed."""

from __future__ import annotations

import asyncio
import re
import time

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from sixgig.errors import UsageError
from sixgig.gateway.answer import RefusedError
from sixgig.settings import TimeoutSettings
from sixgig.units import format_bytes

USUAL = TimeoutSettings()
# What is read at once, while everybody waits: 50 ms for this many (bench/serving/hostile.py).
MOST_NODES, MOST_VALUES = 25_000, 150_000
_BODILESS = ("GET", "HEAD", "OPTIONS")
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_UTF8 = re.compile(r'charset *= *("?)utf-?8\1', re.IGNORECASE)


class BodyRoom:
    """What all requests' bodies may take together, from their first byte until their answers have ended."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes, self.held_bytes = limit_bytes, 0


class LimitedBody:
    """Stands for `receive`. Raises RefusedError instead of passing on more than limit_bytes (413), more than
    there is room for (503), or what does not come (408).

    refused: what it raised; whatever the application makes of that is no answer to the client.
    """

    def __init__(
        self, receive: Receive, limit_bytes: int, room: BodyRoom, timeouts: TimeoutSettings = USUAL
    ) -> None:
        self.refused: RefusedError | None = None
        self._timeouts, self._began_s = timeouts, time.monotonic()
        self._receive, self._limit_bytes, self._room = receive, limit_bytes, room
        self._held_bytes, self._complete = 0, False

    async def __call__(self) -> Message:
        """The next message, counted."""
        if self._complete:
            return await self._receive()
        silence_s, body_s = self._timeouts.silence_s, self._timeouts.body_s
        left_s = self._began_s + body_s - time.monotonic()
        limits_s = [s for limit, s in ((silence_s, silence_s), (body_s, left_s)) if limit >= 0]
        try:
            async with asyncio.timeout(min(limits_s, default=None)):
                message = await self._receive()
        except TimeoutError:
            numbers = f"silence of {silence_s:g} s and {body_s:g} s in all possible"
            raise self._refusal(RefusedError(408, "the body stopped coming", numbers)) from None
        self._hold(len(message.get("body", b"")))
        self._complete = not message.get("more_body", False)
        return message

    def release(self) -> None:
        """The answer has ended."""
        self._room.held_bytes -= self._held_bytes
        self._held_bytes = 0

    def _hold(self, size_bytes: int) -> None:
        if self._held_bytes + size_bytes > self._limit_bytes:
            raise self._refusal(too_large(self._limit_bytes))
        if self._room.held_bytes + size_bytes > self._room.limit_bytes:
            numbers = f"{format_bytes(self._room.limit_bytes)} for all bodies together"
            raise self._refusal(
                RefusedError(503, "the server is busy with other bodies", numbers, "ask again")
            )
        self._held_bytes += size_bytes
        self._room.held_bytes += size_bytes

    def _refusal(self, error: RefusedError) -> RefusedError:
        self.refused = error
        return error


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


async def check_size(body: bytes) -> None:
    """Raises UsageError for JSON of more objects, lists and names, or of more values, than can be read while
    others wait. Of a long text only what is no text counts.
    """
    if _is_small(body):
        return
    bare, n_strings = _STRING.subn(b"", body, count=2 * MOST_NODES)
    if n_strings == 2 * MOST_NODES or not _is_small(bare):
        numbers = f"{MOST_NODES} objects, lists and names, {MOST_VALUES} values possible"
        raise UsageError("the body holds too many values", numbers, "send several requests")
    await asyncio.sleep(0)  # what comes next takes as long


def _is_small(text: bytes) -> bool:
    return sum(map(text.count, (b"{", b"[", b":"))) <= MOST_NODES and text.count(b",") <= MOST_VALUES


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
