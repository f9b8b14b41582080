"""The gateway as Ollama's endpoints use it: by Ollama's names, with the time that loading took."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import httpx

from sixgig.engines import EngineProcess, ModelCard
from sixgig.errors import ServingError, UsageError
from sixgig.server.answer import Answer, RefusedError
from sixgig.server.gateway import Gateway
from sixgig.server.ollama_fields import ModelRequest
from sixgig.server.ollama_requests import EngineRequest
from sixgig.server.ollama_visit import Visit

_MISSING = 404
_LATEST = ":latest"


class Backend:
    """The models here; and, through the exchange, those elsewhere."""

    def __init__(self, gateway: Gateway) -> None:
        self._exchange, self._fleet = gateway.exchange, gateway.fleet

    def name(self, asked: str) -> str:
        """As configured: clients append ":latest" to a name without a tag."""
        return asked if asked in self._fleet.models else asked.removesuffix(_LATEST)

    def card(self, asked: str) -> ModelCard:
        """Raises RefusedError for a model that is not here."""
        seated = self._fleet.models.get(self.name(asked))
        if seated is None:
            raise _not_found(asked)
        return seated.card

    def require(self, asked: str, embeds: bool) -> ModelCard | None:
        """The card, None for a model elsewhere. Raises UsageError where it is made for the other purpose."""
        seated = self._fleet.models.get(self.name(asked))
        if seated is None or (seated.card.pooling is not None) is embeds:
            return None if seated is None else seated.card
        if embeds:
            cure = f"ask an embedding model, or set pooling in [models.{seated.card.name}]"
            raise UsageError(f"{seated.card.name} gives no embeddings", cure=cure)
        raise UsageError(f"{seated.card.name} gives embeddings only", cure="ask it at /api/embed")

    @contextlib.asynccontextmanager
    async def answer(
        self, visit: Visit, asked: ModelRequest, request: EngineRequest
    ) -> AsyncIterator[tuple[Answer, int]]:
        """The answer for the time of the block, and the nanoseconds for which its model was loaded first."""
        name = self.name(asked.model)
        before = self._engine(name)
        try:
            async with self._exchange.answer(visit.call(asked, name, request)) as answer:
                yield answer, self._loading_ns(name, before)
        except RefusedError as error:
            raise _not_found(asked.model) if error.status == _MISSING else error from None

    async def load(self, asked: ModelRequest) -> str:
        """Load the model, or send it away where it is kept for no time; which of them, in Ollama's word."""
        name = self.card(asked.model).name
        if asked.keep_alive == 0:
            await self._fleet.unload(name)
            return "unload"
        async with self._fleet.lease(name, asked.keep_alive):
            return "load"

    async def cut_to_fit(self, asked: str, texts: list[str]) -> list[list[int]]:
        """Each text's tokens, as many as the engine takes at once; the mark that ends an input is kept."""
        async with self._fleet.lease(self.card(asked).name) as engine:
            limit = min(engine.order.context, engine.order.ubatch)
            return [await _tokens(engine, text, limit) for text in texts]

    def _engine(self, name: str) -> EngineProcess | None:
        seated = self._fleet.models.get(name)
        return None if seated is None else seated.engine

    def _loading_ns(self, name: str, before: EngineProcess | None) -> int:
        engine = self._engine(name)
        return 0 if engine is None or engine is before else round(engine.loading_s * 1e9)


def _not_found(asked: str) -> RefusedError:
    """In the words that Ollama's clients look for."""
    return RefusedError(_MISSING, f"model '{asked[:100]}' not found")


async def _tokens(engine: EngineProcess, text: str, limit: int) -> list[int]:
    whole = await _tokenized(engine, text, add_special=True)
    if len(whole) <= limit:
        return whole
    bare = await _tokenized(engine, text, add_special=False)
    end = whole[-1:] if whole[-1] != bare[-1] else []
    return whole[: limit - len(end)] + end


async def _tokenized(engine: EngineProcess, text: str, add_special: bool) -> list[int]:
    body = {"content": text, "add_special": add_special}
    try:
        response = (await engine.client.post("/tokenize", json=body)).raise_for_status()
    except httpx.HTTPError as error:
        raise ServingError("the input cannot be cut", type(error).__name__, "send a shorter one") from error
    tokens: list[int] = response.json()["tokens"]
    return tokens
