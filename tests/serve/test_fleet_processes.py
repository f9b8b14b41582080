"""The fleet with real processes: memory comes back, and those who do not fit together take turns."""

import asyncio
import contextlib
import os
import signal
import tempfile
from pathlib import Path

import psutil
import pytest

from sixgig.engines import Budget, Fleet, ModelSpec, model_card
from sixgig.engines import fleet as fleet_module
from sixgig.errors import ServingError
from tests.serve.engine_processes import completion, engines, own_completion
from tests.serve.loops import in_loop


@contextlib.asynccontextmanager
async def fleet_of(*specs, ram_bytes=1 << 30, keep_alive_s=-1.0):
    changed = asyncio.Event()
    with tempfile.TemporaryDirectory(prefix="sixgig-") as folder:
        cards = [model_card(spec, ubatch=64) for spec in specs]
        budget, options = Budget(ram_bytes), {"keep_alive_s": keep_alive_s, "threads": 2}
        fleet = Fleet(cards, budget, Path(folder), changed=changed.set, **options)
        running = asyncio.create_task(fleet.run())

        async def until(condition):
            while not condition():
                changed.clear()
                await changed.wait()

        try:
            yield fleet, until
        finally:
            await fleet.close()
            running.cancel()
        assert engines() == []
        assert os.listdir(folder) == []


def spec(name, path):
    return ModelSpec(name, path, context=512)


@in_loop
async def test_an_idle_model_gives_its_memory_back_and_is_loaded_again(tiny):
    path = tiny("qwen3moe")
    async with fleet_of(spec("a", path), keep_alive_s=0.05) as (fleet, until):
        for _ in range(2):
            async with fleet.lease("a") as engine:
                held = engine.memory
                assert held.resident_bytes > 50 << 20
                assert await completion(engine) == own_completion(path)
            await until(lambda: fleet.models["a"].granted_bytes == 0)
            assert not psutil.pid_exists(engine.pid)
            assert engine.memory is None


@in_loop
async def test_two_models_that_do_not_fit_together_take_turns(tiny):
    specs = spec("a", tiny("qwen3")), spec("b", tiny("qwen3moe"))
    needed = max(model_card(one, ubatch=64).whole_bytes for one in specs)
    async with fleet_of(*specs, ram_bytes=needed * 3 // 2) as (fleet, _until):

        async def answer(name):
            async with fleet.lease(name) as engine:
                tokens = await completion(engine, n_tokens=8)
                assert len(engines()) == 1
                return tokens

        one, two, three, four = await asyncio.gather(*(answer(name) for name in "abab"))
        assert (one, two) == (three, four)
        assert one != two


@in_loop
async def test_an_engine_killed_in_use_is_there_again(tiny, monkeypatch):
    monkeypatch.setattr(fleet_module, "FIRST_PAUSE_S", 0.0)
    async with fleet_of(spec("a", tiny("qwen3"))) as (fleet, until):
        async with fleet.lease("a") as engine:
            os.kill(engine.pid, signal.SIGKILL)
            assert "killed by SIGKILL" in str(await engine.lost)
        await until(lambda: fleet.models["a"].state == "ready" and fleet.models["a"].engine is not engine)
        assert fleet.models["a"].losses == 1
        async with fleet.lease("a") as anew:
            assert len(await completion(anew, n_tokens=4)) == 4


@in_loop
async def test_a_grant_by_the_card_is_enough_for_the_engine_or_raised_to_what_is(tiny):
    path = tiny("qwen3moe")
    whole = model_card(spec("a", path), ubatch=64).whole_bytes
    async with (
        fleet_of(spec("a", path), ram_bytes=whole + (32 << 20)) as (fleet, _),
        fleet.lease("a") as engine,
    ):
        assert whole <= engine.order.ram_bytes <= whole + (32 << 20)
        assert engine.plan["mode"] == "unpaged"


@in_loop
async def test_closing_while_a_model_loads_leaves_nothing(tiny):
    async with fleet_of(spec("a", tiny("qwen3"))) as (fleet, _until):

        async def use():
            async with fleet.lease("a"):
                pass

        waiting = asyncio.create_task(use())
        while not engines():
            await asyncio.sleep(0.001)
        await fleet.close()
        assert engines() == []
        with pytest.raises(ServingError, match="stopping"):
            await waiting
