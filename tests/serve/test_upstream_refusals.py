"""What becomes of a request that an upstream, or an engine here, finds fault with or fails at."""

import httpx
import pytest

from tests.serve.gateways import far_settings, house
from tests.serve.loops import in_loop
from tests.serve.test_upstreams import MISSING, OVERFLOW, PAID, impatient

REASON = {
    "message": "max_tokens is too large",
    "type": "invalid_request_error",
    "code": "too_large",
    "param": "x",
}
SHAPES = {
    "openai": lambda told: told["error"],
    "responses": lambda told: told["error"],
    "ollama": lambda told: {"message": told["error"]},
}


@pytest.mark.parametrize(("api", "rule"), [*((api, MISSING) for api in SHAPES), ("openai", OVERFLOW)])
@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("stream", [False, True])
@in_loop
async def test_a_request_that_an_upstream_finds_fault_with_is_refused_with_its_reason(
    tmp_path, api, stream, status, rule
):
    """So would it be the next time: it is asked once, costs nothing, and nobody else is asked."""
    async with house(tmp_path, impatient(rule)) as home:
        home.here.n_prompt_tokens = 1000
        home.far.answers = [httpx.Response(status, json={"error": REASON})]
        answer = await home.answered(api, stream, model="else" if rule == MISSING else "here")
        assert answer.status == status, answer.body
        told = SHAPES[api](answer.json)
        assert REASON["message"] in told["message"] and "far" in told["message"]
        if api != "ollama":
            assert {name: told[name] for name in ("type", "code", "param")} == {
                name: REASON[name] for name in ("type", "code", "param")
            }
        assert len(home.far.asked) == 1 and home.here.asked == []
        assert [settled for _, settled in home.reservations] == [0]
        assert await home.written("status, upstream_cost_micros", 1) == [(status, 0)]


@pytest.mark.parametrize(
    "body", [b"", b"<html>no", b'{"error":"no"}', b'{"error":{"message":5}}', b"x" * 100_000, b"[" * 50_000]
)  # fmt: skip
@in_loop
async def test_a_refusal_in_no_known_shape_is_a_refusal_all_the_same(tmp_path, body):
    async with house(tmp_path, far_settings(MISSING)) as home:
        home.far.answers = [httpx.Response(400, content=body)]
        answer = await home.answered(model="else")
        assert answer.status == 400 and "refused the request" in answer.json["error"]["message"]
        assert [settled for _, settled in home.reservations] == [0]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("stream", [False, True])
@in_loop
async def test_an_upstream_that_fails_is_asked_once_more_and_each_try_is_paid_for(tmp_path, stream, status):
    async with house(tmp_path, far_settings(MISSING)) as home:
        home.far.answers = [httpx.Response(status, text="<html>")]
        answer = await home.answered(stream=stream, model="else")
        assert (answer.status, answer.text) == (200, "far says")
        (worst, unsettled), (_, paid) = home.reservations
        assert (unsettled, paid) == (None, PAID)  # the first may have worked for us all the same
        assert await home.written("upstream_cost_micros", 1) == [(worst + PAID,)]
        home.far.answers = [httpx.Response(status)] * 2
        failed = await home.answered(stream=stream, model="else")
        assert failed.status == 503 and f"status {status}" in failed.json["error"]["message"]
        assert len(home.far.asked) == 4


@in_loop
async def test_a_second_try_that_would_pass_a_cap_is_not_made(tmp_path):
    async with house(tmp_path, far_settings(MISSING)) as home:
        await home.answered(stream=False, model="else")
        ((worst, _),) = home.reservations
    settings = far_settings(MISSING, per_day=str(1.5 * worst / 1e6))
    (tmp_path / "second").mkdir()
    async with house(tmp_path / "second", settings) as home:
        home.far.answers = [httpx.Response(500)]
        answer = await home.answered(stream=False, model="else")
        assert (answer.status, len(home.far.asked), len(home.reservations)) == (503, 1, 1)
        assert "status 500" in answer.json["error"]["message"]


@in_loop
async def test_an_engine_that_fails_is_asked_once_more(tmp_path):
    async with house(tmp_path) as home:
        fault = httpx.Response(500, json={"error": {"message": "Compute error."}})
        home.here.answers = [fault]
        assert (await home.answered()).text == "here says"
        home.here.answers = [fault, fault]
        failed = await home.answered()
        assert failed.status == 503 and "Compute error" in failed.json["error"]["message"]
        home.here.answers = [httpx.Response(500, json={"error": {"message": "tools have no name"}})]
        assert (await home.answered()).status == 400
        assert len(home.here.asked) == 5
        assert await home.nothing_left()
