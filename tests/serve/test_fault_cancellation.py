"""A client that leaves: slot, lease and energy window are free at once, and the ledger says cancelled."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.serve.energy_traces import SlowMeter
from tests.serve.fake_engines import card
from tests.serve.gateways import CHATS, EnergyMonitor, far_settings, house, never
from tests.serve.loops import in_loop, settle

MISSING = {"when": "model_missing"}
SLOW = {"when": "first_token_slower_than", "value": 0.02}
PLACES = ("in the queue", "while the model loads", "before the first byte", "in mid-stream")


async def waiting_at(home, place, api):
    """A request that has come so far."""
    if place == "while the model loads":
        home.engines.may_load.clear()
    if place in ("in the queue", "before the first byte"):
        home.here.answers = [never]
    if place == "in mid-stream":
        home.here.go_on.clear()
    visit = home.chat(api)
    if place == "in mid-stream":
        await visit.until(b"data: " if api != "ollama" else b"{")
    elif place == "while the model loads":
        await home.engines.loading.wait()
    else:
        await home.here.came.wait()
    if place != "in the queue":
        return visit, []
    second = home.chat(api)
    await settle()
    assert home.gateway.queue.waiting == 1
    return second, [visit]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("api", list(CHATS))
@in_loop
async def test_a_client_that_leaves_holds_nothing(tmp_path, api, place):
    async with house(tmp_path, cards=[card("here")]) as home:
        visit, others = await waiting_at(home, place, api)
        visit.leave()
        await visit.ended()
        for other in others:
            other.leave()
            await other.ended()
        assert await home.nothing_left()
        home.engines.may_load.set()
        home.here.go_on.set()
        assert (await home.answered()).text == "here says"
        found = await home.written("outcome, status", 2 + len(others))
        status = 200 if place == "in mid-stream" else 499
        assert sorted(found) == [("cancelled", status)] * (1 + len(others)) + [("ok", 200)]


@pytest.mark.parametrize("at", ["here", "far", "both"])
@in_loop
async def test_a_client_that_leaves_during_a_race_lets_go_of_both(tmp_path, at):
    async with house(tmp_path, far_settings(SLOW)) as home:
        home.here.answers = [never]
        home.far.answers = [never] if at == "both" else []
        home.far.go_on.clear()
        visit = home.chat()
        await (home.here if at == "here" else home.far).came.wait()
        if at == "far":
            await visit.until(b"far")
        visit.leave()
        await visit.ended()
        assert await home.nothing_left()
        ((outcome, cost),) = await home.written("outcome, upstream_cost_micros", 1)
        assert outcome == "cancelled"
        assert [cost] == ([worst for worst, _ in home.reservations] or [None])


@in_loop
async def test_a_reservation_that_was_never_sent_costs_nothing(tmp_path, monkeypatch):
    async with house(tmp_path, far_settings(MISSING)) as home:
        ledger, began, may_end = home.gateway.books._ledger, asyncio.Event(), asyncio.Event()
        loop, real = asyncio.get_running_loop(), ledger.reserve_within

        def slow(*args):
            loop.call_soon_threadsafe(began.set)
            asyncio.run_coroutine_threadsafe(may_end.wait(), loop).result()
            return real(*args)

        monkeypatch.setattr(ledger, "reserve_within", slow)
        visit = home.chat(model="else")
        await began.wait()
        visit.leave()
        await settle()
        may_end.set()
        await visit.ended()
        assert await home.nothing_left()
        assert [settled for _, settled in home.reservations] == [0]
        assert home.far.asked == []


@pytest.mark.parametrize("stream", [False, True])
@in_loop
async def test_a_client_that_leaves_while_the_meter_is_read_leaves_no_energy_window(tmp_path, stream):
    meter = SlowMeter(asyncio.get_running_loop().time)
    async with house(tmp_path, monitor=EnergyMonitor(meter)) as home:
        await home.answered()
        await asyncio.sleep(0.03)  # the reading is too old for the next
        meter.armed = True
        visit = home.chat(stream=stream)
        await asyncio.to_thread(meter.reading.wait)
        visit.leave()
        await settle()
        meter.armed = False
        meter.proceed.set()
        await visit.ended()
        assert await home.nothing_left()
        assert ("cancelled",) in await home.written("outcome", 2)


@in_loop
async def test_a_client_that_leaves_before_its_energy_window_opens_is_put_down(tmp_path):
    """All threads are busy, so that what was handed to them is called off before it began."""
    meter = SlowMeter(asyncio.get_running_loop().time)
    async with house(tmp_path, monitor=EnergyMonitor(meter)) as home:
        await home.answered()
        await home.written("id", 1)
        loop, free = asyncio.get_running_loop(), threading.Event()
        loop.set_default_executor(ThreadPoolExecutor(1))
        loop.run_in_executor(None, free.wait)
        visit = home.chat()
        try:
            await settle()
            assert home.gateway.queue.running == 1
            visit.leave()
            await settle()
        finally:
            free.set()  # else the loop would wait for this thread for ever
        await visit.ended()
        assert await home.nothing_left()
        assert ("cancelled",) in await home.written("outcome", 2)


@in_loop
async def test_a_model_that_crashes_between_lease_and_request_is_told_in_order(tmp_path):
    async with house(tmp_path) as home:
        await home.answered()
        engine = home.engines.running[-1]
        await engine.client.aclose()
        refused = await home.answered()
        assert refused.status == 503
        assert "error" in refused.json
        assert await home.nothing_left()
