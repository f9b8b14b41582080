"""Ollama's embeddings: /api/embed and the older /api/embeddings. An input that is too long is cut."""

from __future__ import annotations

from sixgig.gateway.answer import RefusedError
from sixgig.server.ollama_answers import Form, embeddings, engine_error, shortened
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
        form, loading = Form(asked.model, chat=False), self._backend.loading(asked.model)
        vectors, count = await self._vectors(visit, asked, asked.texts, asked.truncate is not False)
        document = {
            "model": asked.model,
            "embeddings": [shortened(vector, asked.dimensions) for vector in vectors],
            "total_duration": form.took_ns(),
            "load_duration": loading.took_ns,
            "prompt_eval_count": count,
        }
        await visit.say(document, told_ignored(asked))

    async def old_embeddings(self, visit: Visit) -> None:
        """POST /api/embeddings."""
        asked = parse(EmbeddingsRequest, visit.body)
        vectors, _ = await self._vectors(visit, asked, [asked.prompt] if asked.prompt else [], may_cut=True)
        await visit.say({"embedding": vectors[0] if vectors else []}, told_ignored(asked))

    async def _vectors(
        self, visit: Visit, asked: ModelRequest, texts: list[str], may_cut: bool
    ) -> tuple[list[list[float]], int]:
        """One for each text, and the tokens read."""
        self._backend.require(asked.model, embeds=True)
        if not texts:
            await self._backend.load(asked)
            return [], 0
        inputs = await self._backend.fitted(asked.model, texts, may_cut)
        async with self._backend.answer(visit, asked, embed_request(asked.model, inputs)) as answer:
            body = b"".join([piece async for piece in answer.body])
        if answer.status != _OK:
            raise RefusedError(answer.status, engine_error(body))
        return embeddings(body)
