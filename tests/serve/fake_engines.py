"""Engine processes that only the test moves, and a fleet of them."""

import asyncio
import contextlib
import time
from collections import Counter
from pathlib import Path

from sixgig.engines import Budget, Fleet, ModelCard, ModelSpec, fleet
from sixgig.errors import EngineLostError

ROOM = 100


def card(name, whole=60, paged=None, **spec):
    """A model that takes `whole` bytes, or at least `paged` of them."""
    return ModelCard(
        spec=ModelSpec(name, Path(f"{name}.gguf"), **spec),
        architecture="llama",
        size_bytes=whole,
        n_parameters=1,
        file_type="F16",
        context=64,
        trained_context=64,
        pooling=None,
        modified_ns=0,
        ubatch=64,
        whole_bytes=whole,
        paged_bytes=paged,
        chat_template=None,
    )


class FakeEngine:
    """What the fleet needs of an EngineProcess."""

    def __init__(self, engines, order):
        self.engines, self.order = engines, order
        self.ready_at_s = time.monotonic()
        self.lost = asyncio.get_running_loop().create_future()
        self.alive = True
        self.stopped = False
        self.used_by = 0

    async def stop(self, at_once=False):
        assert self.used_by == 0 or self.lost.done() or self.engines.closing, f"{self.order.name} is in use"
        self.alive, self.stopped = False, True
        for _ in range(3):  # it takes its time, and holds its memory meanwhile
            await asyncio.sleep(0)
        if not self.lost.done():
            self.lost.set_result(EngineLostError("stopped"))
            self.engines.running.remove(self)

    def crash(self):
        """It ends by itself."""
        self.alive = False
        self.lost.set_result(EngineLostError("crashed", "killed by SIGKILL"))
        self.engines.running.remove(self)


class FakeEngines:
    """Stands in for the class. running: those whose memory is held. fails: errors to come, by name.

    hold(name): loads of it wait until release(name).
    """

    def __init__(self):
        self.running, self.started, self.fails = [], Counter(), {}
        self.orders = []
        self.gates = {}
        self.closing = False

    async def start(self, order, progress):
        self.started[order.name] += 1
        self.orders.append(order)
        self.running.append(engine := FakeEngine(self, order))
        assert sum(e.order.ram_bytes for e in self.running) <= ROOM, [e.order for e in self.running]
        try:
            progress(0.5)
            await asyncio.sleep(0)
            if order.name in self.gates:
                await self.gates[order.name].wait()
            if self.fails.get(order.name):
                raise self.fails[order.name].pop(0)
        except BaseException:
            self.running.remove(engine)
            raise
        return engine

    def hold(self, name):
        self.gates[name] = asyncio.Event()

    def release(self, name):
        self.gates.pop(name).set()

    def names(self):
        return sorted(engine.order.name for engine in self.running)


class Watched:
    """A fleet under test."""

    def __init__(self, cards, keep_alive_s):
        self._news = asyncio.Event()
        budget = Budget(ROOM)
        self.fleet = Fleet(
            cards, budget, Path("/nowhere"), keep_alive_s=keep_alive_s, threads=1, changed=self._note
        )
        self.models = self.fleet.models

    async def until(self, condition):
        """Woken by every change that the fleet tells of."""
        while not condition():
            self._news.clear()
            await self._news.wait()

    async def use(self, name, done=None, **options):
        """One request: a lease that lasts until `done` is set, or a few turns of the loop."""
        async with self.fleet.lease(name, **options) as engine:
            engine.used_by += 1
            try:
                await (asyncio.sleep(0) if done is None else done.wait())
            finally:
                engine.used_by -= 1
            return engine

    def _note(self):
        self._news.set()


@contextlib.asynccontextmanager
async def fleet_of(monkeypatch, *cards, keep_alive_s=-1.0):
    """(fleet, engines): run() goes on beside the test, and close() ends everything."""
    engines = FakeEngines()
    monkeypatch.setattr(fleet, "EngineProcess", engines)
    watched = Watched(cards, keep_alive_s)
    running = asyncio.create_task(watched.fleet.run())
    try:
        yield watched, engines
    finally:
        engines.closing = True
        await watched.fleet.close()
        assert not running.done()
        running.cancel()
        assert engines.running == []
