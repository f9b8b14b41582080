"""A fleet in trouble: engines that crash, a close in the midst of things, and everything at once."""

import asyncio
import contextlib
import random

import pytest

from sixgig.engines import fleet as fleet_module
from sixgig.errors import EngineLostError, ModelFileError, ServingError
from tests.serve.fake_engines import card, fleet_of
from tests.serve.loops import in_loop, settle


@pytest.fixture
def pauses(monkeypatch):
    """The pauses before each start anew; they take no time."""
    taken, sleep = [], asyncio.sleep

    async def noted(seconds):
        if seconds:
            taken.append(seconds)
        await sleep(0)

    monkeypatch.setattr(fleet_module.asyncio, "sleep", noted)
    return taken


@in_loop
async def test_an_engine_that_crashes_is_started_anew_after_growing_pauses(monkeypatch, pauses):
    async with fleet_of(monkeypatch, card("a")) as (fleet, _engines):
        engine = await fleet.use("a")
        for n in range(1, 9):
            engine.crash()
            await fleet.until(lambda engine=engine: fleet.models["a"].engine not in (None, engine))
            engine = fleet.models["a"].engine
            assert fleet.models["a"].losses == n
        assert "SIGKILL" in str(fleet.models["a"].last_loss)
        assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
        assert await fleet.use("a") is engine
        engine.ready_at_s -= fleet_module.STEADY_S + 1
        engine.crash()
        await fleet.until(lambda: fleet.models["a"].engine not in (None, engine))
        assert pauses[-1] == 1.0


@in_loop
async def test_a_request_that_meets_a_crash_gets_a_new_engine_at_once_and_only_one(monkeypatch, pauses):
    async with fleet_of(monkeypatch, card("a")) as (fleet, engines):
        for _ in range(3):
            engine = await fleet.use("a")
            engine.crash()
            uses = await asyncio.gather(*(fleet.use("a") for _ in range(4)))
            await settle()
            assert set(uses) == {fleet.models["a"].engine}
            assert fleet.models["a"].granted_bytes == 60
        assert engines.started["a"] == 4


@in_loop
async def test_a_crash_under_way_frees_its_grant(monkeypatch, pauses):
    async with fleet_of(monkeypatch, card("a"), card("b")) as (fleet, engines):
        done = asyncio.Event()
        use = asyncio.create_task(fleet.use("a", done))
        await settle()
        newcomer = asyncio.create_task(fleet.use("b"))
        await settle()
        engines.running[0].crash()
        assert (await newcomer).order.name == "b"
        done.set()
        await use
        await settle()
        assert engines.names() == ["b"], "nobody asked for a: it takes no other's place"


@in_loop
async def test_an_engine_that_does_not_start_anew_is_left_to_the_next_request(monkeypatch, pauses):
    async with fleet_of(monkeypatch, card("a")) as (fleet, engines):
        engine = await fleet.use("a")
        engines.fails["a"] = [EngineLostError("ended while loading")]
        engine.crash()
        await settle()
        assert engines.running == []
        assert (await fleet.use("a")).alive


@in_loop
async def test_closing_ends_loads_waits_and_processes(monkeypatch):
    async with fleet_of(monkeypatch, card("a"), card("b"), card("c", 30)) as (fleet, engines):
        done = asyncio.Event()
        engines.hold("c")
        busy = asyncio.create_task(fleet.use("a", done))
        await settle()
        loading = asyncio.create_task(fleet.use("c"))
        await settle()
        waiting = [asyncio.create_task(fleet.use("b")) for _ in range(2)]
        await settle()
        engines.closing = True
        await fleet.fleet.close()
        assert engines.running == []
        for use in (loading, *waiting):
            with pytest.raises(ServingError, match="stopping"):
                await use
        with pytest.raises(ServingError, match="stopping"):
            await fleet.use("a")
        done.set()
        await busy


@in_loop
async def test_closing_ends_those_whom_a_newcomer_keeps_waiting(monkeypatch):
    async with fleet_of(monkeypatch, card("a"), card("b")) as (fleet, engines):
        done = asyncio.Event()
        busy = asyncio.create_task(fleet.use("a", done))
        await settle()
        newcomer = asyncio.create_task(fleet.use("b"))
        await settle()
        late = asyncio.create_task(fleet.use("a"))
        await settle()
        engines.closing = True
        await fleet.fleet.close()
        for use in (newcomer, late):
            with pytest.raises(ServingError, match="stopping"):
                await use
        done.set()
        await busy


@pytest.mark.parametrize("seed", range(30))
@in_loop
async def test_whatever_happens_budgets_hold_and_everyone_is_served(monkeypatch, seed):
    """The fake engines check that grants fit and that none is stopped in use; here, that all ends."""
    chance = random.Random(seed)
    monkeypatch.setattr(fleet_module, "FIRST_PAUSE_S", 0.0)
    cards = [card("a", 60), card("b", 70, paged=20), card("c", 30), card("d", 150, paged=40)]
    async with fleet_of(monkeypatch, *cards, keep_alive_s=chance.choice([0.0, 0.001, -1.0])) as (
        fleet,
        engines,
    ):
        served = 0

        async def client():
            nonlocal served
            for _ in range(12):
                for _ in range(chance.randrange(6)):
                    await asyncio.sleep(0)
                keep = chance.choice([None, None, 0.0, -1.0])
                with contextlib.suppress(ModelFileError):
                    await fleet.use(chance.choice("abcd"), keep_alive_s=keep)
                    served += 1

        async def trouble(clients):
            for _ in range(60):
                for _ in range(chance.randrange(8)):
                    await asyncio.sleep(0)
                match chance.randrange(5):
                    case 0 if fleet.models[name := chance.choice("abcd")].state == "ready":
                        fleet.models[name].engine.crash()
                    case 1:
                        await fleet.fleet.unload(chance.choice("abcd"))
                    case 2:
                        engines.fails.setdefault(chance.choice("abcd"), []).append(ModelFileError("bad"))
                    case 3:
                        chance.choice(clients[:5]).cancel()

        clients = [asyncio.create_task(client()) for _ in range(15)]
        outcomes = await asyncio.gather(trouble(clients), *clients, return_exceptions=True)
        assert [o for o in outcomes if isinstance(o, Exception)] == []
        assert served >= 10 * 12 // 2
        assert all(seated.users == 0 for seated in fleet.models.values())
