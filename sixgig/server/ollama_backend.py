"""The gateway as Ollama's endpoints use it: by Ollama's names, with the time that loading took."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from sixgig.engines import BrokenConnectionError, EngineProcess, Fleet, ModelCard, Seated
from sixgig.errors import ServingError, UsageError
from sixgig.gateway.answer import Answer, RefusedError
from sixgig.gateway.exchange import Exchange
from sixgig.gateway.names import Names
from sixgig.gateway.preparing import require_purpose
from sixgig.server.ollama_fields import ModelRequest
from sixgig.server.ollama_requests import EngineRequest
from sixgig.server.ollama_visit import Visit

_MISSING = 404


class Backend:
    """The models here; and, through the exchange, those elsewhere."""

    def __init__(self, exchange: Exchange, fleet: Fleet, names: Names) -> None:
        self._exchange, self._fleet, self._names = exchange, fleet, names

    @property
    def here(self) -> dict[str, Seated]:
        """Every model that may be asked for here, by each of its names."""
        models = self._fleet.models
        return models | {alias: models[name] for alias, name in self._names.listed.items()}

    @property
    def loaded(self) -> list[tuple[Seated, EngineProcess]]:
        """Those that are in memory."""
        return [(seated, seated.engine) for seated in self._fleet.models.values() if seated.engine]

    def name(self, asked: str) -> str:
        """As configured, or as it is where that is not here."""
        return self._names.resolve(asked)

    def card(self, asked: str) -> ModelCard:
        """Raises RefusedError for a model that is not here."""
        seated = self._fleet.models.get(self.name(asked))
        if seated is None:
            raise _not_found(asked)
        return seated.card

    def require(self, asked: str, embeds: bool) -> ModelCard | None:
        """The card, None for a model elsewhere. Raises UsageError where it is made for the other purpose."""
        seated = self._fleet.models.get(self.name(asked))
        if seated is None:
            return None
        require_purpose(seated.card, embeds)
        return seated.card

    @contextlib.asynccontextmanager
    async def answer(
        self, visit: Visit, asked: ModelRequest, request: EngineRequest
    ) -> AsyncIterator[Answer]:
        """The answer, for the time of the block. Raises SixgigError before its first byte."""
        try:
            async with self._exchange.answer(visit.call(asked, self.name(asked.model), request)) as answer:
                yield answer
        except RefusedError as error:
            raise _not_found(asked.model) if error.status == _MISSING else error from None

    def loading(self, asked: str) -> Loading:
        """To be asked before the answer, and again with it."""
        return Loading(self._fleet.models.get(self.name(asked)))

    async def load(self, asked: ModelRequest) -> str:
        """Load the model, or send it away where it is kept for no time; which of them, in Ollama's word."""
        name = self.card(asked.model).name
        if asked.keep_alive == 0:
            await self._fleet.unload(name)
            return "unload"
        async with self._fleet.lease(name, asked.keep_alive):
            return "load"

    async def fitted(self, asked: str, texts: list[str], may_cut: bool) -> list[str | list[int]]:
        """Each text as it is, or the tokens of as much of it as the engine takes at once.

        Raises UsageError for one too long where it may not be cut. What goes elsewhere stays as it is.
        """
        name = self.name(asked)
        if name not in self._fleet.models:
            return list(texts)
        async with self._fleet.lease(name) as engine:
            return [await _fitted(engine, text, may_cut) for text in texts]


class Loading:
    """How long a model was loaded for a request: made when it comes."""

    def __init__(self, seated: Seated | None) -> None:
        self._seated = seated
        self._before = None if seated is None else seated.engine

    @property
    def took_ns(self) -> int:
        """0 where it was there before, or is elsewhere."""
        engine = None if self._seated is None else self._seated.engine
        return 0 if engine is None or engine is self._before else round(engine.loading_s * 1e9)


def _not_found(asked: str) -> RefusedError:
    """In the words that Ollama's clients look for."""
    return RefusedError(_MISSING, f"model '{asked[:100]}' not found")


async def _fitted(engine: EngineProcess, text: str, may_cut: bool) -> str | list[int]:
    """What ends every input of this model (add_special) stays at the end."""
    limit = min(engine.order.context, engine.order.ubatch)
    whole = await _tokenized(engine, text, add_special=True)
    if len(whole) <= limit:
        return text
    if not may_cut:
        cure = 'shorten it, or let "truncate" be true'
        raise UsageError("an input is too long", f"{len(whole)} tokens, {limit} fit", cure)
    bare = await _tokenized(engine, text, add_special=False)
    end = whole[-1:] if whole[-1] != bare[-1] else []
    return whole[: limit - len(end)] + end


async def _tokenized(engine: EngineProcess, text: str, add_special: bool) -> list[int]:
    body = {"content": text, "add_special": add_special}
    try:
        reply = await engine.client.post("/tokenize", json=body)
        tokens: list[int] = reply.json()["tokens"]
    except (BrokenConnectionError, ValueError, LookupError) as error:
        raise ServingError("the input cannot be cut", type(error).__name__, "send a shorter one") from error
    return tokens
