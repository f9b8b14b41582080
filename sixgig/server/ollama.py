"""Ollama's API: its clients find here the models that this server was configured with.

Covers chat, generate, embeddings and the lists. Does not cover what changes models (pull, create, copy, push,
delete, blobs): answered with 501. A body is read whatever its content type says, as Ollama does.
"""

from __future__ import annotations

import time

from starlette.routing import BaseRoute, Route

from sixgig.errors import ServingError
from sixgig.gateway.answer import Answer, RefusedError, StreamBrokenError
from sixgig.server.ollama_answers import NDJSON, Form, Lines, Part, engine_error, is_too_long, ndjson, whole
from sixgig.server.ollama_backend import Backend
from sixgig.server.ollama_embeddings import Embeddings
from sixgig.server.ollama_fields import AnswerRequest, ChatRequest, GenerateRequest, ShowRequest, parse
from sixgig.server.ollama_models import listed, running, shown
from sixgig.server.ollama_requests import EngineRequest, chat_request, generate_request
from sixgig.server.ollama_visit import Endpoint, Visit, told_ignored
from sixgig.server.shapes import error_event
from sixgig.server.wire import NEVER, Heartbeat

# Clients ask for features by Ollama's version: 0.14 is the first with all the endpoints of inference here.
API_VERSION = "0.14.0"
_OK, _MISSING, _NOT_DONE = 200, 404, 501
_CHANGES = ("pull", "create", "copy", "push", "delete", "blobs/{digest}")
_ANY_METHOD = ("GET", "POST", "PUT", "PATCH", "DELETE")


def ollama_routes(backend: Backend, heartbeat_s: float) -> list[BaseRoute]:
    """All under /api; the last takes what no other does."""
    ollama, vectors = Ollama(backend, heartbeat_s), Embeddings(backend)
    answers = {
        "chat": ("POST", ollama.chat),
        "generate": ("POST", ollama.generate),
        "embed": ("POST", vectors.embed),
        "embeddings": ("POST", vectors.old_embeddings),
        "show": ("POST", ollama.show),
        "tags": ("GET", ollama.tags),
        "ps": ("GET", ollama.ps),
        "version": ("GET", ollama.version),
    }
    return [
        *(Route(f"/api/{name}", Endpoint(say), methods=[method]) for name, (method, say) in answers.items()),
        *(Route(f"/api/{name}", Endpoint(_refuse_change), methods=_ANY_METHOD) for name in _CHANGES),
        Route("/api/{rest:path}", Endpoint(_refuse_path), methods=_ANY_METHOD),
    ]


class Ollama:
    """The endpoints but for embeddings. Each raises SixgigError before its first byte."""

    def __init__(self, backend: Backend, heartbeat_s: float) -> None:
        self._backend, self._heartbeat_s = backend, heartbeat_s

    async def chat(self, visit: Visit) -> None:
        """POST /api/chat; without messages the model is loaded, or sent away."""
        asked = parse(ChatRequest, visit.body)
        form = Form(asked.model, chat=True)
        if not asked.messages:
            return await visit.say(form.nothing(await self._backend.load(asked)))
        self._backend.require(asked.model, embeds=False)
        await self._answer(visit, asked, form, chat_request(asked))

    async def generate(self, visit: Visit) -> None:
        """POST /api/generate; without a prompt the model is loaded, or sent away."""
        asked = parse(GenerateRequest, visit.body)
        form = Form(asked.model, chat=False)
        if not (asked.prompt or asked.suffix or asked.images):
            return await visit.say(form.nothing(await self._backend.load(asked)))
        card = self._backend.require(asked.model, embeds=False)
        has_template = card is None or card.chat_template is not None
        await self._answer(visit, asked, form, generate_request(asked, has_template))

    async def show(self, visit: Visit) -> None:
        """POST /api/show."""
        await visit.say(shown(self._backend.card(parse(ShowRequest, visit.body).model)))

    async def tags(self, visit: Visit) -> None:
        """GET /api/tags: every model that may be asked for here, loaded or not."""
        here = self._backend.here.items()
        await visit.say({"models": [listed(seated.card, name) for name, seated in here]})

    async def ps(self, visit: Visit) -> None:
        """GET /api/ps: the loaded ones."""
        now_ns, clock_s = time.time_ns(), time.monotonic()
        loaded = self._backend.loaded
        await visit.say({"models": [running(*one, now_ns, clock_s) for one in loaded]})

    async def version(self, visit: Visit) -> None:
        """GET /api/version: Ollama's, whose API this is; three numbers, as clients compare them."""
        await visit.say({"version": API_VERSION})

    async def _answer(self, visit: Visit, asked: AnswerRequest, form: Form, request: EngineRequest) -> None:
        loading = self._backend.loading(asked.model)
        async with (
            visit.wire.alive(self._heartbeat(form, asked, request)),
            self._backend.answer(visit, asked, request) as answer,
        ):
            headers = answer.headers | told_ignored(asked, answer.headers)
            if answer.streamed and answer.status == _OK:
                return await _stream(visit, answer, Lines(form, loading.took_ns), headers)
            body = b"".join([piece async for piece in answer.body])
            if answer.status != _OK:
                raise RefusedError(answer.status, engine_error(body), cure=_cure(body))
            await visit.say(whole(form, loading.took_ns, body), headers=headers)

    def _heartbeat(self, form: Form, asked: AnswerRequest, request: EngineRequest) -> Heartbeat:
        """A line with no text: to Ollama's clients an empty line is an error."""

        def beat() -> bytes:
            return ndjson(form.line(Part()))

        every_s = self._heartbeat_s if request.fields.get("stream") is True else NEVER
        return Heartbeat(every_s, NDJSON, beat, told_ignored(asked), ends=(b"\n",))


async def _stream(visit: Visit, answer: Answer, lines: Lines, headers: dict[str, str]) -> None:
    """The lines as they come. Raises StreamBrokenError where they end too soon; the client was told."""
    try:
        async for piece in answer.body:
            await visit.wire.start(_OK, NDJSON, headers)
            await visit.wire.pass_on(lines.feed(piece))
            if lines.broken:
                break
    except StreamBrokenError as error:
        if not visit.wire.started:
            raise error.reason from error
        await visit.wire.pass_on(error_event("ollama", error.reason), more=False)
        raise
    await visit.wire.start(_OK, NDJSON, headers)
    await visit.wire.pass_on(lines.close(), more=False)
    if lines.broken:
        raise StreamBrokenError(ServingError("the engine ended its answer with an error"))


def _cure(body: bytes) -> str:
    return "shorten it, or let the owner raise context in the configuration" if is_too_long(body) else ""


async def _refuse_change(visit: Visit) -> None:
    path = visit.request.url.path
    cure = "its owner adds and removes them there"
    raise RefusedError(_NOT_DONE, "sixgig serves the models of its configuration", f"not {path[:60]}", cure)


async def _refuse_path(visit: Visit) -> None:
    raise RefusedError(_MISSING, f"there is no {visit.request.url.path[:100]!a}")
