"""A gateway in this process: engines and an upstream that do as they are told, clients at its door."""

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from sixgig.energy import EnergyMonitor
from sixgig.engines import Budget, fleet
from sixgig.errors import EngineLostError
from sixgig.gateway.gateway import Gateway
from sixgig.gateway.upstream import Upstreams
from sixgig.hardware.machine import Absent
from sixgig.ledger import Ledger
from sixgig.server.app import make_app
from sixgig.settings import Settings
from tests.serve.engine_clients import ScriptedClient
from tests.serve.fake_engines import card
from tests.serve.ledger_rows import rows
from tests.serve.visits import Visit

CHAT = "/v1/chat/completions"
STREAM, JSON = {"content-type": "text/event-stream"}, {"content-type": "application/json"}
USAGE = {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50}
# Of CHATS[api], the bodies below: a chat of one word in each API's own way.
CHATS = {
    "openai": (CHAT, {"messages": [{"role": "user", "content": "hello"}]}),
    "anthropic": ("/v1/messages", {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 9}),
    "responses": ("/v1/responses", {"input": "hello"}),
    "ollama": ("/api/chat", {"messages": [{"role": "user", "content": "hello"}]}),
}


def event(document, end=b"\n\n"):
    return b"data: " + json.dumps(document).encode() + end


def chunk(text):
    return event({"choices": [{"index": 0, "delta": {"content": text}}]})


DONE = b"data: [DONE]\n\n"


class Peer:
    """Who answers "<name> says" with USAGE, an engine or an upstream. asked: what it was asked, bodies read.

    answers: what it does instead, for each request to come: a response, an error, or a function of the
    request. held: while set, streams go no further than their first word.
    """

    def __init__(self, name, n_prompt_tokens=3):
        self.name, self.n_prompt_tokens = name, n_prompt_tokens
        self.asked, self.answers = [], []
        self.came, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def __call__(self, request):
        if request.url.path.endswith(("/input_tokens", "/count_tokens")):
            return httpx.Response(200, json={"input_tokens": self.n_prompt_tokens})
        self.asked.append(request)
        self.came.set()
        answer = self.answers.pop(0) if self.answers else self.usual
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        return _coming(await answer if asyncio.iscoroutine(answer) else answer)

    def usual(self, request):
        if not json.loads(request.content).get("stream"):
            message = {"role": "assistant", "content": f"{self.name} says"}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            return httpx.Response(200, json={"choices": [choice], "usage": USAGE})
        return httpx.Response(200, headers=STREAM, content=self._words(request.url.path))

    async def _words(self, path):
        yield chunk(f"{self.name} ")
        await self.go_on.wait()
        yield event({"choices": [{"index": 0, "delta": {"content": "says"}, "finish_reason": "stop"}]})
        yield event({"choices": [], "usage": USAGE})
        yield event({"type": "response.completed"}) if path.endswith("/responses") else DONE

    @property
    def bodies(self):
        return [json.loads(request.content) for request in self.asked]


def _coming(answer):
    """The same as it comes from a network: not read yet."""
    if not answer.is_closed:
        return answer

    async def body():
        yield answer.content

    return httpx.Response(answer.status_code, headers=answer.headers, content=body())


async def never(*_request):
    """An answer that does not come."""
    await asyncio.Event().wait()


def streamed(*pieces):
    """A stream of these; an exception among them is raised, None waits for ever."""

    async def body():
        for piece in pieces:
            if piece is None:
                await asyncio.Event().wait()
            elif isinstance(piece, Exception):
                raise piece
            yield piece

    return httpx.Response(200, headers=STREAM, content=body())


class FakeEngine:
    """Stands for an engine process; `peer` answers."""

    pid, memory, loading_s = 1, None, 0.0

    def __init__(self, order, peer):
        self.order, self.plan = order, {}
        self.ready_at_s = time.monotonic()
        self.client = ScriptedClient(peer)
        self.lost = asyncio.get_running_loop().create_future()
        self.failures = []

    @property
    def alive(self):
        return not self.lost.done()

    async def counters(self):
        return None

    async def failure(self):
        return self.failures.pop(0) if self.failures else None

    async def stop(self, at_once=False):
        await self.client.aclose()
        self.crash("stopped")

    def crash(self, why="killed by SIGKILL"):
        if self.alive:
            self.lost.set_result(EngineLostError("the engine process has ended", why))


class FakeEngines:
    """Stands for the class. fails: errors of loads to come; may_load: cleared, loads wait."""

    def __init__(self, peer):
        self.peer, self.running, self.fails = peer, [], []
        self.loading, self.may_load = asyncio.Event(), asyncio.Event()
        self.may_load.set()

    async def start(self, order, progress):
        self.loading.set()
        await self.may_load.wait()
        if self.fails:
            raise self.fails.pop(0)
        self.running.append(FakeEngine(order, self.peer))
        return self.running[-1]


@dataclass
class House:
    """A running gateway and all around it. here, far: who answers, as an engine and as the upstream."""

    gateway: Gateway
    app: object
    engines: FakeEngines
    here: Peer
    far: Peer

    def chat(self, api="openai", stream=True, model="here", headers=(), **fields):
        path, body = CHATS[api]
        return Visit(self.app, path, {"model": model, "stream": stream, **body, **fields}, headers)

    async def answered(self, *args, **fields):
        """The whole answer, once it is put down."""
        n_others = len(self.gateway.tally._open)
        visit = await self.chat(*args, **fields).ended()
        while len(self.gateway.tally._open) > n_others:
            await asyncio.sleep(0.001)
        return visit

    async def written(self, columns, n=None):
        """Rows of the ledger, those whose columns are asked for; n: once there are so many."""
        found = rows(self.gateway.today._path, "entries", columns)
        while n is not None and len(found) < n:
            await asyncio.sleep(0.01)
            found = rows(self.gateway.today._path, "entries", columns)
        return found

    @property
    def reservations(self):
        return rows(self.gateway.today._path, "reservations", "micros, settled_micros")

    async def nothing_left(self):
        """Once all calls have ended: no slot, lease, energy window or record is held any more."""
        await self.gateway.exchange.all_ended()
        seated = self.gateway.fleet.models.values()
        monitor = self.gateway.books.monitor
        return (
            self.gateway.queue.running == self.gateway.queue.waiting == 0
            and not any(one.users for one in seated)
            and not monitor._began_s
            and not self.gateway.tally._open
        )


def far_settings(*rules, input_price=2, output_price=10, per_day=100, **upstream):
    """One upstream that serves every name as "their-<name>" or as it is."""
    far = {
        "name": "far",
        "base_url": "http://far.test/v1",
        "models": {"here": "their-here", "*": "*"},
        "input_price": input_price,
        "output_price": output_price,
    }
    return {
        "upstreams": [far | upstream],
        "rules": [{"upstream": "far", **rule} for rule in rules],
        "spending": {"per_day": per_day},
    }


@contextlib.asynccontextmanager
async def house(folder, settings=None, *, cards=None, monitor=None, upstreams=None, **server):
    """The gateway runs for the block's time; its ledger is folder/l. far: stands behind every upstream."""
    here, far = Peer("here"), Peer("far")
    engines, real = FakeEngines(here), fleet.EngineProcess
    fleet.EngineProcess = engines
    gateway = Gateway(
        Settings.model_validate({**(settings or {}), "server": server}),
        cards or [card("here", sequences=2)],
        Budget(100),
        Path("/nowhere"),
        Ledger.open(folder / "l"),
        monitor or EnergyMonitor(Absent("none in a test")),
        threads=1,
        upstreams=upstreams or Upstreams(httpx.MockTransport(far)),
    )
    try:
        async with gateway.running():
            yield House(gateway, make_app(gateway), engines, here, far)
    finally:
        fleet.EngineProcess = real
