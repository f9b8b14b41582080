"""Joules through the whole gateway: exact where a meter knows them, absent, never 0, where none does."""

import asyncio
import time

import pytest

from sixgig.energy import EnergyMonitor, Reading, ReplayMeter
from tests.serve.fake_engines import card
from tests.serve.gateways import house
from tests.serve.ledger_rows import rows
from tests.serve.loops import in_loop

IDLE_W, BUSY_W = 5.0, 40.0


class Plug:
    """A machine that draws IDLE_W, and BUSY_W while something runs, exactly; its clock is simulated."""

    def __init__(self):
        self.now_s, self.joules, self.monitor = 0.0, 0.0, None

    def meter(self):
        while True:
            yield Reading(self.now_s, {"chip": self.joules})

    def pass_(self, seconds, watts):
        self.now_s += seconds
        self.joules += seconds * watts

    def rest(self):
        """Long enough, and read often enough, for idle power to be known."""
        for _ in range(40):
            self.pass_(0.5, IDLE_W)
            self.monitor.tick()


def plugged():
    plug = Plug()
    plug.monitor = EnergyMonitor(ReplayMeter(plug.meter()), clock=lambda: plug.now_s)
    return plug


@pytest.mark.parametrize("stream", [False, True])
@in_loop
async def test_exact_joules_reach_header_and_ledger(tmp_path, stream):
    plug = plugged()
    settings = {"energy": {"price_per_kwh": "0.36"}}
    async with house(tmp_path, settings, monitor=plug.monitor) as home:
        await home.answered()
        await until_told(home)
        plug.rest()

        def works(request):
            plug.pass_(2.0, BUSY_W)
            return home.here.usual(request)

        home.here.answers = [works]
        answer = await home.answered(stream=stream)
        joules = 2.0 * (BUSY_W - IDLE_W)
        if not stream:
            assert float(answer.headers["x-sixgig-joules"]) == joules
            assert answer.headers["x-sixgig-cost"] == "0.000007"
        await home.written("id", 2)
        found = rows(tmp_path / "l", "entries", "joules, energy_cost_micros, began_at")
        assert max(found, key=lambda row: row[2])[:2] == (joules, 7)


@in_loop
async def test_without_a_meter_joules_are_absent(tmp_path):
    async with house(tmp_path, {"energy": {"price_per_kwh": "0.36"}}) as home:
        answer = await home.answered(stream=False)
        assert not {"x-sixgig-joules", "x-sixgig-cost"} & set(answer.headers)
        assert await home.written("joules, energy_cost_micros", 1) == [(None, None)]
        await asyncio.sleep(0)
    assert rows(tmp_path / "l", "residencies", "joules, energy_cost_micros") == [(None, None)]


@in_loop
async def test_what_staying_took_is_put_down_when_a_model_leaves_and_not_for_each_request(tmp_path):
    began = time.monotonic()
    async with house(tmp_path, cards=[card("here")]) as home:
        for _ in range(5):
            await home.answered()
        await until_told(home)
        assert rows(tmp_path / "l", "residencies") == []
        await home.gateway.fleet.unload("here")
        while not (found := rows(tmp_path / "l", "residencies", "model, seconds")):
            await asyncio.sleep(0.01)
        ((model, seconds),) = found
        assert model == "here"
        assert 0 < seconds <= time.monotonic() - began
    assert len(rows(tmp_path / "l", "residencies")) == 1


async def until_told(home):
    """The books know that the model is there."""
    while "here" not in home.gateway.books._loaded_s or home.gateway.books.monitor._models is None:
        await asyncio.sleep(0.005)
