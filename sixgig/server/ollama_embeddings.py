"""Ollama's embeddings: /api/embed and the older /api/embeddings. An input that is too long is cut."""

from __future__ import annotations

from sixgig.errors import UsageError
from sixgig.server.answer import RefusedError
from sixgig.server.ollama_answers import Form, embeddings, engine_error, is_too_long
from sixgig.server.ollama_backend import Backend
from sixgig.server.ollama_fields import EmbeddingsRequest, EmbedRequest, ModelRequest, parse
from sixgig.server.ollama_requests import embed_request
from sixgig.server.ollama_visit import Visit, told_ignored

_OK = 200


class Embeddings:
    """The two endpoints. Without a text they load the model, or send it away."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def embed(self, visit: Visit) -> None:
        """POST /api/embed."""
        asked = parse(EmbedRequest, visit.body)
        form, load_ns, body = Form(asked.model, chat=False), 0, b""
        if asked.texts:
            body, load_ns = await self._embedded(visit, asked, asked.texts, asked.truncate is not False)
        else:
            await self._backend.load(asked)
        vectors, count = embeddings(body, asked.dimensions) if body else ([], 0)
        figures = {"total_duration": form.took_ns(), "load_duration": load_ns}
        counted = {} if count is None else {"prompt_eval_count": count}
        answer = {"model": asked.model, "embeddings": vectors} | figures | counted
        await visit.say(answer, headers=told_ignored(asked))

    async def old_embeddings(self, visit: Visit) -> None:
        """POST /api/embeddings."""
        asked = parse(EmbeddingsRequest, visit.body)
        if not asked.prompt:
            await self._backend.load(asked)
            return await visit.say({"embedding": []})
        body, _ = await self._embedded(visit, asked, [asked.prompt], may_cut=True)
        vectors, _ = embeddings(body, None)
        await visit.say({"embedding": vectors[0] if vectors else []}, headers=told_ignored(asked))

    async def _embedded(
        self, visit: Visit, asked: ModelRequest, texts: list[str], may_cut: bool
    ) -> tuple[bytes, int]:
        """The engine's answer and the time of loading; asked again with less where it was too much."""
        self._backend.require(asked.model, embeds=True)
        status, body, load_ns = await self._ask(visit, asked, texts)
        if status != _OK and is_too_long(body):
            if not may_cut:
                raise UsageError("an input is too long", engine_error(body), 'let "truncate" be true')
            tokens = await self._backend.cut_to_fit(asked.model, texts)
            status, body, _ = await self._ask(visit, asked, tokens)
        if status != _OK:
            raise RefusedError(status, engine_error(body))
        return body, load_ns

    async def _ask(
        self, visit: Visit, asked: ModelRequest, inputs: list[str] | list[list[int]]
    ) -> tuple[int, bytes, int]:
        request = embed_request(asked.model, inputs)
        async with self._backend.answer(visit, asked, request) as (answer, load_ns):
            return answer.status, b"".join([piece async for piece in answer.body]), load_ns
