"""Engines' clients that end in a function of the test: a request of httpx's in, a response of httpx's out."""

import contextlib
import json as documents

import httpx

from sixgig.engines import BrokenConnectionError


class ScriptedClient:
    """Stands for an EngineClient; `answer` gets each request, a coroutine function or not."""

    def __init__(self, answer):
        self._http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://engine")

    @contextlib.asynccontextmanager
    async def stream(self, path, body):
        headers = {"content-type": "application/json"}
        request = self._http.build_request("POST", path, content=body, headers=headers)
        try:
            response = await self._http.send(request, stream=True)
        except (httpx.HTTPError, RuntimeError) as error:
            raise BrokenConnectionError(type(error).__name__) from error
        try:
            yield _Reply(response)
        finally:
            await response.aclose()

    async def post(self, path, *, content=None, json=None):
        async with self.stream(path, documents.dumps(json).encode() if content is None else content) as reply:
            await reply.aread()
            return reply

    async def aclose(self):
        await self._http.aclose()


class _Reply:
    def __init__(self, response):
        self._response = response
        self.status_code, self.headers = response.status_code, response.headers

    async def aiter_raw(self):
        try:
            async for piece in self._response.aiter_raw():
                yield piece
        except httpx.HTTPError as error:
            raise BrokenConnectionError(type(error).__name__) from error

    async def aread(self):
        try:
            return await self._response.aread()
        except httpx.HTTPError as error:
            raise BrokenConnectionError(type(error).__name__) from error

    def json(self):
        return self._response.json()
