"""One call to a server elsewhere: only with a permit, only within what was reserved, and never trusted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from sixgig.errors import ServingError
from sixgig.gateway.answer import STREAM, Answer, RefusedError, StreamBrokenError
from sixgig.gateway.call import OUTPUT_LIMITS, Call
from sixgig.gateway.pieces import LONGEST_EVENT, EventCutter
from sixgig.gateway.usage import UsageWatch
from sixgig.router import Attempt, is_permitted

CONNECT_S = 10.0
_LONGEST_ANSWER = 64 << 20
_IDLE_CONNECTIONS = 32
_JSON, _PLAIN = "application/json", "identity"
_EVENT_END = re.compile(rb"(\r?\n\r?\n)")
_TAIL = 4096
# By these the request itself is at fault; other 4xx are about our key, our pace, or its names.
_REFUSALS, _FAILED, _MAY_PASS = (400, 413, 415, 422), 500, (500, 502, 503, 504, 529)
_ERROR_FIELDS, _LONGEST_ERROR, _LONGEST_WORDS = ("message", "type", "code", "param"), 65_536, 500


class UpstreamError(ServingError):
    """An upstream failed before its first byte; spent: whether it may have worked for us all the same.

    may_pass: it said itself that it failed, and may not when it is asked again.
    """

    def __init__(self, name: str, numbers: str, spent: bool, may_pass: bool = False) -> None:
        super().__init__(f"the upstream {name} failed", numbers, "ask again, or see its own log")
        self.spent, self.may_pass = spent, may_pass


class UpstreamRefusedError(RefusedError):
    """An upstream finds fault with the request: so would it the next time, and nothing was spent."""

    spent = False


class Upstreams:
    """Their connections. Nothing of a client's headers ever reaches them."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=_IDLE_CONNECTIONS),
            transport=transport,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )

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
        response = await self._response(call, request, attempt)
        try:
            pieces = _guarded(attempt, response, deadline_s, watch)
            yield await _checked(call, attempt, response, pieces)
        finally:
            await response.aclose()

    async def _response(self, call: Call, request: httpx.Request, attempt: Attempt) -> httpx.Response:
        """One with a good status, in time."""
        name = attempt.upstream.name
        try:
            async with asyncio.timeout(_first_byte_s(call, attempt)):
                response = await self._client.send(request, stream=True)
        except (TimeoutError, httpx.HTTPError) as error:
            unspent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            raise UpstreamError(name, _words(error), spent=not unspent) from error
        status = response.status_code
        if status == httpx.codes.OK:
            return response
        try:
            told = await _told(response) if status in _REFUSALS else {}
        finally:
            await response.aclose()
        if status in _REFUSALS:
            what = f"the upstream {name} refused the request"
            raise UpstreamRefusedError(status, what, str(told.pop("message", "")), told=told)
        # 4xx is refused work; what failed with 5xx may have been done, and paid for, before.
        raise UpstreamError(name, f"status {status}", spent=status >= _FAILED, may_pass=status in _MAY_PASS)


async def _told(response: httpx.Response) -> dict[str, Any]:
    """OpenAI's fields of an error; none of what comes late, long or in another shape."""
    body = bytearray()
    try:
        async with asyncio.timeout(CONNECT_S):
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > _LONGEST_ERROR:
                    return {}
    except (TimeoutError, httpx.HTTPError):
        return {}
    error = _document(bytes(body)).get("error")
    fields = {name: error.get(name) for name in _ERROR_FIELDS} if isinstance(error, dict) else {}
    return {
        name: value[:_LONGEST_WORDS] if isinstance(value, str) else value
        for name, value in fields.items()
        if isinstance(value, str | int)
    }


def _first_byte_s(call: Call, attempt: Attempt) -> float:
    """An answer that is no stream comes when all of it is done."""
    return attempt.upstream.first_token_timeout_s if call.stream else attempt.upstream.timeout_s


def _words(error: Exception) -> str:
    if isinstance(error, StreamBrokenError):
        return error.numbers
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__


def _asked(call: Call, attempt: Attempt) -> dict[str, Any]:
    """The client's request with the upstream's name of the model and a limit that what it costs keeps to."""
    asked = call.fields | {"model": attempt.model}
    limit = _limit_field(call.path, asked)
    for name in OUTPUT_LIMITS:  # of another endpoint's, an upstream takes no notice
        asked.pop(name, None)
    if limit is not None:
        asked[limit] = attempt.max_output_tokens
    if call.stream and call.path.endswith("completions"):
        asked |= {"stream_options": {"include_usage": True}}
    return asked


def _limit_field(path: str, asked: dict[str, Any]) -> str | None:
    """By which name the endpoint knows the answer's limit; a chat has two, and the client's choice counts."""
    if path.endswith("/embeddings"):
        return None
    if path.endswith("/responses"):
        return "max_output_tokens"
    newer = path.endswith("/chat/completions") and "max_completion_tokens" in asked
    return "max_completion_tokens" if newer else "max_tokens"


def _asked_for_usage(call: Call) -> bool:
    options = call.fields.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _headers(api_key_env: str | None) -> dict[str, str]:
    secret = os.environ.get(api_key_env, "") if api_key_env else ""
    own = {"content-type": _JSON, "accept-encoding": _PLAIN}
    return own | ({"authorization": f"Bearer {secret}"} if secret else {})


async def _checked(
    call: Call, attempt: Attempt, response: httpx.Response, pieces: AsyncIterator[bytes]
) -> Answer:
    """The answer, once its first byte is there and its kind is the one asked for."""
    kind, name = response.headers.get("content-type", ""), attempt.upstream.name
    wanted = STREAM if call.stream else _JSON
    if not kind.startswith(wanted):
        raise UpstreamError(name, f"it answered {kind[:60]!a}, not {wanted}", spent=True)
    if (coding := response.headers.get("content-encoding", _PLAIN)) != _PLAIN:
        raise UpstreamError(name, f"it packed its answer, {coding[:60]!a}, unasked", spent=True)
    try:
        async with asyncio.timeout(_first_byte_s(call, attempt)):
            first = await (anext(pieces, b"") if call.stream else _whole(attempt, pieces))
    except (TimeoutError, StreamBrokenError) as error:
        raise UpstreamError(name, _words(error), spent=True) from error
    if not first or _document(_EVENT_END.split(first)[0].removeprefix(b"data:")).get("error"):
        raise UpstreamError(name, "its answer is an error" if first else "its answer is empty", spent=True)
    body = _to_the_end(attempt, first, pieces) if call.stream else _once(first)
    if call.stream and not _asked_for_usage(call) and call.path.endswith("completions"):
        body = _without_usage(attempt, body)
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


async def _without_usage(attempt: Attempt, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Without the last event, which carries no choice but the usage that we, not the client, asked for."""
    cutter = EventCutter()
    async for piece in body:
        events = cutter.feed(piece)
        if any(len(event) > LONGEST_EVENT for event in events):
            raise _broken(attempt, f"an event of its stream is longer than {LONGEST_EVENT} bytes")
        if kept := b"".join(event for event in events if not _is_usage_alone(event)):
            yield kept
    if rest := cutter.close():
        yield rest


def _is_usage_alone(event: bytes) -> bool:
    return b'"usage"' in event and _document(event.removeprefix(b"data:")).get("choices") == []


def _document(text: bytes) -> dict[str, Any]:
    """A JSON object; an empty one for anything else."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


async def _whole(attempt: Attempt, pieces: AsyncIterator[bytes]) -> bytes:
    """All of a body that is an answer: with status 200 some tell of an error."""
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > _LONGEST_ANSWER:
            raise _broken(attempt, f"its answer is longer than {_LONGEST_ANSWER} bytes")
    document = _document(bytes(body))
    if not document:
        raise _broken(attempt, "its answer is no JSON object")
    return bytes(body)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


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
