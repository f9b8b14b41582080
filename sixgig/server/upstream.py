"""One call to a server elsewhere: only with a permit, only within what was reserved, and never trusted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx

from sixgig.errors import ServingError
from sixgig.router import Attempt, is_permitted
from sixgig.server.answer import STREAM, Answer, StreamBrokenError
from sixgig.server.call import OUTPUT_LIMITS, Call
from sixgig.server.usage import UsageWatch

CONNECT_S = 10.0
_LONGEST_ANSWER = 64 << 20
_JSON, _EVENT_END = "application/json", b"\n\n"
_TAIL = 4096


class UpstreamError(ServingError):
    """An upstream failed before its first byte; spent: whether it may have worked for us all the same."""

    def __init__(self, name: str, numbers: str, spent: bool) -> None:
        super().__init__(f"the upstream {name} failed", numbers, "ask again, or see its own log")
        self.spent = spent


class Upstreams:
    """Their connections. Nothing of a client's headers ever reaches them."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        timeout = httpx.Timeout(None, connect=CONNECT_S)
        self._client = httpx.AsyncClient(timeout=timeout, transport=transport, follow_redirects=False)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._client.aclose()

    @contextlib.asynccontextmanager
    async def answer(self, call: Call, attempt: Attempt, watch: UsageWatch) -> AsyncIterator[Answer]:
        """The upstream's answer, seen by `watch` as it came. Raises UpstreamError before its first byte."""
        if not is_permitted(attempt.permit, call.id):
            raise ValueError("nothing leaves without its own permit")
        upstream = attempt.upstream
        request = self._client.build_request(
            "POST",
            upstream.base_url + call.path.removeprefix("/v1"),
            content=json.dumps(_asked(call, attempt)).encode(),
            headers=_headers(upstream.api_key_env),
        )
        deadline_s = asyncio.get_running_loop().time() + upstream.timeout_s
        response = await self._response(request, attempt)
        try:
            pieces = _guarded(attempt, response, deadline_s, watch)
            yield await _checked(call, attempt, response, pieces)
        finally:
            await response.aclose()

    async def _response(self, request: httpx.Request, attempt: Attempt) -> httpx.Response:
        """One with a good status, in time."""
        name = attempt.upstream.name
        try:
            async with asyncio.timeout(attempt.upstream.first_token_timeout_s):
                response = await self._client.send(request, stream=True)
        except (TimeoutError, httpx.HTTPError) as error:
            unspent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            raise UpstreamError(name, _words(error), spent=not unspent) from error
        if response.status_code != httpx.codes.OK:
            await response.aclose()
            raise UpstreamError(name, f"status {response.status_code}", spent=False)
        return response


def _words(error: Exception) -> str:
    return "no first token in time" if isinstance(error, TimeoutError) else type(error).__name__


def _asked(call: Call, attempt: Attempt) -> dict[str, Any]:
    """The client's request with the upstream's name of the model and a limit that what it costs keeps to."""
    asked = call.fields | {"model": attempt.model}
    if not call.path.endswith("/embeddings"):
        default = "max_output_tokens" if call.path.endswith("/responses") else "max_tokens"
        limits = [name for name in OUTPUT_LIMITS if name in asked] or [default]
        asked |= dict.fromkeys(limits, attempt.max_output_tokens)
    if call.stream and call.path.endswith("completions"):
        asked |= {"stream_options": {"include_usage": True}}
    return asked


def _asked_for_usage(call: Call) -> bool:
    options = call.fields.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _headers(api_key_env: str | None) -> dict[str, str]:
    secret = os.environ.get(api_key_env, "") if api_key_env else ""
    return {"content-type": _JSON} | ({"authorization": f"Bearer {secret}"} if secret else {})


async def _checked(
    call: Call, attempt: Attempt, response: httpx.Response, pieces: AsyncIterator[bytes]
) -> Answer:
    """The answer, once its first byte is there and its kind is the one asked for."""
    kind, name = response.headers.get("content-type", ""), attempt.upstream.name
    wanted = STREAM if call.stream else _JSON
    if not kind.startswith(wanted):
        raise UpstreamError(name, f"it answered {kind[:60]!a}, not {wanted}", spent=True)
    try:
        async with asyncio.timeout(attempt.upstream.first_token_timeout_s):
            first = await anext(pieces, b"")
    except (TimeoutError, StreamBrokenError) as error:
        raise UpstreamError(name, _words(error), spent=True) from error
    if not call.stream:
        return Answer(response.status_code, kind, name, _whole(attempt, first, pieces))
    body = _to_the_end(attempt, first, pieces)
    if not _asked_for_usage(call) and call.path.endswith("completions"):
        body = _without_usage(body)
    return Answer(response.status_code, kind, name, body)


async def _to_the_end(attempt: Attempt, first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """As it comes; broken where it ends without saying so."""
    tail = first[-_TAIL:]
    yield first
    async for piece in pieces:
        tail = (tail + piece)[-_TAIL:]
        yield piece
    if not any(end in tail for end in (b"[DONE]", b"response.completed", b"response.incomplete")):
        raise _broken(attempt, "its stream stops before its end")


async def _without_usage(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Without the last event, which carries no choice but the usage that we, not the client, asked for."""
    rest = b""
    async for piece in body:
        *events, rest = (rest + piece).split(_EVENT_END)
        kept = [event for event in events if not _is_usage_alone(event)]
        if kept:
            yield _EVENT_END.join([*kept, b""])
    if rest:
        yield rest


def _is_usage_alone(event: bytes) -> bool:
    if not event.startswith(b"data: {") or b'"usage"' not in event:
        return False
    try:
        document = json.loads(event[len(b"data: ") :])
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("choices") == []


async def _whole(attempt: Attempt, first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """All at once, when it is known to be JSON."""
    body = bytearray(first)
    async for piece in pieces:
        body += piece
        if len(body) > _LONGEST_ANSWER:
            raise _broken(attempt, f"its answer is longer than {_LONGEST_ANSWER} bytes")
    try:
        json.loads(body)
    except ValueError as error:
        raise _broken(attempt, "its answer is no JSON") from error
    yield bytes(body)


async def _guarded(
    attempt: Attempt, response: httpx.Response, deadline_s: float, watch: UsageWatch
) -> AsyncIterator[bytes]:
    """The bytes, until the upstream's time is over."""
    pieces = response.aiter_bytes()
    while True:
        try:
            async with asyncio.timeout_at(deadline_s):
                piece = await anext(pieces, None)
        except TimeoutError as error:
            raise _broken(attempt, f"not done after {attempt.upstream.timeout_s:g} s") from error
        except httpx.HTTPError as error:
            raise _broken(attempt, type(error).__name__) from error
        if piece is None:
            return
        watch.feed(piece)
        yield piece


def _broken(attempt: Attempt, numbers: str) -> StreamBrokenError:
    return StreamBrokenError(UpstreamError(attempt.upstream.name, numbers, spent=True))
