"""Here or elsewhere: a model that is slow or fails before its first byte, and an upstream that may, too."""

import asyncio

import httpx
import pytest

from sixgig.errors import ModelFileError
from tests.serve.fake_engines import card
from tests.serve.gateways import chunk, far_settings, house, never, streamed
from tests.serve.loops import in_loop
from tests.serve.test_upstreams import FAILED, OVERFLOW, SLOW, UNSPENT, impatient


@pytest.mark.parametrize("stream", [False, True])
@in_loop
async def test_where_the_model_here_is_slow_the_upstream_answers_and_the_slot_is_free(tmp_path, stream):
    async with house(tmp_path, far_settings(SLOW), cards=[card("here")]) as home:
        home.here.answers = [never]
        home.far.go_on.clear()
        visit = home.chat(stream=stream)
        if stream:
            await visit.until(b"far ")
            assert home.gateway.queue.running == 0
            assert home.gateway.fleet.models["here"].users == 0
        home.far.go_on.set()
        assert ((await visit.ended()).text, visit.headers["x-served-by"]) == ("far says", "far")
        assert await home.nothing_left()


@pytest.mark.parametrize("fault", [*UNSPENT.values(), never, lambda _r: httpx.ReadError("cut")])
@in_loop
async def test_where_the_upstream_fails_too_late_the_slow_model_here_answers_after_all(tmp_path, fault):
    async with house(tmp_path, impatient(SLOW)) as home:
        proceed = asyncio.Event()

        async def slow(request):
            await proceed.wait()
            return home.here.usual(request)

        home.here.answers, home.far.answers = [slow], [fault]
        visit = home.chat()
        await home.far.came.wait()
        proceed.set()
        await visit.ended()
        assert (visit.text, visit.headers["x-served-by"], len(home.far.asked)) == ("here says", "local", 1)
        assert await home.written("served_by, outcome, completion_tokens", 1) == [("local", "ok", 20)]
        assert await home.nothing_left()


@in_loop
async def test_the_model_here_may_win_while_the_upstream_keeps_silent(tmp_path):
    async with house(tmp_path, far_settings(SLOW)) as home:

        async def slow(request):
            await home.far.came.wait()
            return home.here.usual(request)

        home.here.answers, home.far.answers = [slow], [never]
        assert (await home.answered()).text == "here says"
        ((worst, settled),) = home.reservations
        assert settled is None  # it may have worked for us all the same
        assert await home.written("served_by, upstream_cost_micros", 1) == [("local", worst)]


@in_loop
async def test_where_both_fail_the_upstream_is_not_asked_anew_and_the_cause_here_is_told(tmp_path):
    """Each has its second try after a 5xx; the rule for failures does not send it there once more."""
    async with house(tmp_path, far_settings(SLOW, FAILED)) as home:

        async def fails(_request):
            await home.far.came.wait()
            return httpx.Response(500, json={"error": {"message": "Compute error."}})

        home.here.answers = [fails, fails]
        home.far.answers = [httpx.Response(500), httpx.Response(500)]
        answer = await home.answered()
        assert (answer.status, len(home.here.asked), len(home.far.asked)) == (503, 2, 2)
        assert "Compute error" in answer.json["error"]["message"]
        assert await home.nothing_left()


@pytest.mark.parametrize("rule", [SLOW | {"value": 60}, FAILED])
@in_loop
async def test_a_model_that_fails_here_before_its_first_byte_is_replaced(tmp_path, rule):
    async with house(tmp_path, far_settings(rule)) as home:
        home.here.answers = [httpx.Response(500, json={"error": {"message": "Compute error."}})] * 2
        assert (await home.answered()).text == "far says"
        assert await home.nothing_left()


@in_loop
async def test_nothing_leaves_once_a_byte_was_sent(tmp_path):
    async with house(tmp_path, far_settings(SLOW, FAILED)) as home:
        home.here.answers = [streamed(chunk("here "), httpx.ReadError("cut"))]
        answer = await home.answered()
        assert "error" in answer.events[-1]
        assert home.far.asked == []


@in_loop
async def test_an_engine_that_cannot_count_a_prompt_does_not_stop_the_request(tmp_path):
    async with house(tmp_path, far_settings(OVERFLOW, FAILED)) as home:
        home.engines.fails = [ModelFileError("gone"), ModelFileError("gone")]
        assert (await home.answered()).text == "far says"
