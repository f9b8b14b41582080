"""Models on demand within one budget, with engines that only the test moves."""

import asyncio

import pytest

from sixgig.errors import BudgetError, ModelFileError
from tests.serve.fake_engines import ROOM, card, fleet_of
from tests.serve.loops import in_loop, settle


@in_loop
async def test_a_model_is_loaded_by_its_first_request_and_kept_for_the_next(monkeypatch):
    async with fleet_of(monkeypatch, card("a")) as (fleet, engines):
        assert fleet.models["a"].state == "unloaded"
        first = await fleet.use("a")
        assert await fleet.use("a") is first
        assert engines.started["a"] == 1
        assert fleet.models["a"].state == "ready"


@in_loop
async def test_an_unknown_model_is_a_key_error(monkeypatch):
    async with fleet_of(monkeypatch, card("a")) as (fleet, _engines):
        with pytest.raises(KeyError):
            await fleet.use("b")


@in_loop
async def test_many_requests_share_one_load(monkeypatch):
    async with fleet_of(monkeypatch, card("a")) as (fleet, engines):
        engines.hold("a")
        uses = [asyncio.create_task(fleet.use("a")) for _ in range(20)]
        await settle()
        assert fleet.models["a"].state == "loading"
        assert fleet.models["a"].loaded_fraction == 0.5
        engines.release("a")
        assert len(set(await asyncio.gather(*uses))) == 1
        assert engines.started["a"] == 1
        assert fleet.models["a"].users == 0


@in_loop
async def test_who_stops_waiting_does_not_stop_the_load(monkeypatch):
    async with fleet_of(monkeypatch, card("a")) as (fleet, engines):
        engines.hold("a")
        first, second = (asyncio.create_task(fleet.use("a")) for _ in range(2))
        await settle()
        first.cancel()
        await settle()
        assert fleet.models["a"].users == 1
        engines.release("a")
        await second
        assert first.cancelled()
        assert engines.started["a"] == 1


@in_loop
async def test_a_load_that_nobody_waits_for_any_more_is_kept_or_fails_unseen(monkeypatch):
    async with fleet_of(monkeypatch, card("a"), card("b", 20)) as (fleet, engines):
        engines.fails["b"] = [ModelFileError("damaged")]
        for name in ("a", "b"):
            engines.hold(name)
            use = asyncio.create_task(fleet.use(name))
            await settle()
            use.cancel()
            await settle()
            engines.release(name)
            await settle()
        assert engines.names() == ["a"]


@in_loop
async def test_a_failed_load_is_told_to_all_who_wait_and_tried_again_for_the_next(monkeypatch):
    async with fleet_of(monkeypatch, card("a")) as (fleet, engines):
        engines.fails["a"] = [ModelFileError("damaged")]
        engines.hold("a")
        uses = [asyncio.create_task(fleet.use("a")) for _ in range(3)]
        await settle()
        engines.release("a")
        errors = await asyncio.gather(*uses, return_exceptions=True)
        assert [type(error) for error in errors] == [ModelFileError] * 3
        assert fleet.models["a"].granted_bytes == 0
        assert (await fleet.use("a")).alive


@in_loop
async def test_a_grant_that_was_too_small_is_raised_once(monkeypatch):
    async with fleet_of(monkeypatch, card("a", 40)) as (fleet, engines):
        short = BudgetError("too small")
        short.smallest_bytes = 55
        engines.fails["a"] = [short]
        await fleet.use("a")
        assert [order.ram_bytes for order in engines.orders] == [40, 55]


@in_loop
async def test_a_grant_is_raised_again_where_the_next_process_needs_more_than_the_last_one_said(monkeypatch):
    async with fleet_of(monkeypatch, card("a", 40)) as (fleet, engines):
        first, second = BudgetError("too small"), BudgetError("too small")
        first.smallest_bytes, second.smallest_bytes = 55, 58
        engines.fails["a"] = [first, second]
        await fleet.use("a")
        assert [order.ram_bytes for order in engines.orders] == [40, 55, 58]


@in_loop
async def test_what_can_never_fit_is_refused_with_numbers_and_nobody_leaves(monkeypatch):
    cards = card("a", 60), card("large", ROOM + 1), card("limited", 50, ram_bytes=40)
    async with fleet_of(monkeypatch, *cards) as (fleet, engines):
        await fleet.use("a")
        for name in ("large", "limited"):
            with pytest.raises(BudgetError, match=f"{name} does not fit"):
                await fleet.use(name)
        short = BudgetError("too small")
        short.smallest_bytes = ROOM + 1
        fleet.fleet._leave(fleet.models["a"])
        engines.fails["a"] = [short]
        with pytest.raises(BudgetError, match="too small"):
            await fleet.use("a")


@in_loop
async def test_a_model_that_pages_keeps_within_its_own_limit(monkeypatch):
    async with fleet_of(monkeypatch, card("a", 90, paged=20, ram_bytes=40)) as (fleet, engines):
        await fleet.use("a")
        assert engines.orders[-1].ram_bytes == 40


@in_loop
async def test_of_two_that_do_not_fit_together_the_idle_one_leaves(monkeypatch):
    async with fleet_of(monkeypatch, card("a"), card("b"), card("c", 20)) as (fleet, engines):
        await fleet.use("a")
        await fleet.use("c")
        await fleet.use("b")
        assert engines.names() == ["b", "c"]
        await fleet.use("a")
        assert engines.names() == ["a", "c"]


@in_loop
async def test_a_busy_model_is_waited_for_and_does_not_starve_the_newcomer(monkeypatch):
    async with fleet_of(monkeypatch, card("a"), card("b")) as (fleet, engines):
        done, order = asyncio.Event(), []

        async def late(name):
            await fleet.use(name)
            order.append(name)

        early = asyncio.create_task(fleet.use("a", done))
        await settle()
        newcomer = asyncio.create_task(late("b"))
        await settle()
        after = [asyncio.create_task(late("a")) for _ in range(3)]
        await settle()
        assert engines.names() == ["a"]
        assert fleet.models["a"].users == 1
        done.set()
        await asyncio.gather(early, newcomer, *after)
        assert order == ["b", "a", "a", "a"]


@in_loop
async def test_a_newcomer_that_gives_up_lets_the_others_in_again(monkeypatch):
    """Its load goes on, but whoever asks for the busy model is served when it is done."""
    async with fleet_of(monkeypatch, card("a"), card("b")) as (fleet, _engines):
        done = asyncio.Event()
        early = asyncio.create_task(fleet.use("a", done))
        await settle()
        newcomer = asyncio.create_task(fleet.use("b"))
        await settle()
        late = asyncio.create_task(fleet.use("a"))
        await settle()
        newcomer.cancel()
        done.set()
        await asyncio.gather(early, late)


@in_loop
async def test_a_refused_newcomer_does_not_block_those_who_wait_behind_it(monkeypatch):
    async with fleet_of(monkeypatch, card("a"), card("b")) as (fleet, engines):
        done = asyncio.Event()
        engines.fails["b"] = [ModelFileError("damaged")]
        early = asyncio.create_task(fleet.use("a", done))
        await settle()
        newcomer, late = asyncio.create_task(fleet.use("b")), asyncio.create_task(fleet.use("a"))
        await settle()
        done.set()
        errors = await asyncio.gather(early, newcomer, late, return_exceptions=True)
        assert [isinstance(error, ModelFileError) for error in errors] == [False, True, False]


@in_loop
async def test_a_model_taken_while_another_leaves_stays(monkeypatch):
    """Two must leave for the newcomer; a request for the second may not find it half gone."""
    async with fleet_of(monkeypatch, card("a", 40), card("b", 40), card("c", 90)) as (fleet, engines):
        await fleet.use("a")
        await fleet.use("b")
        uses = [asyncio.create_task(fleet.use(name)) for name in ("c", "b", "a", "c", "b")]
        await asyncio.gather(*uses)
        assert engines.started["c"] >= 1


@in_loop
async def test_an_idle_model_leaves_after_its_time_and_is_loaded_again(monkeypatch):
    async with fleet_of(monkeypatch, card("a"), keep_alive_s=0.01) as (fleet, engines):
        first = await fleet.use("a")
        assert fleet.models["a"].deadline_s is not None
        await fleet.until(lambda: fleet.models["a"].granted_bytes == 0)
        assert first.stopped
        assert engines.running == []
        assert fleet.models["a"].state == "unloaded"
        assert await fleet.use("a") is not first


@pytest.mark.parametrize("waiters", [1, 5])
@in_loop
async def test_with_no_time_to_keep_it_a_model_serves_those_who_waited_then_leaves(monkeypatch, waiters):
    async with fleet_of(monkeypatch, card("a"), keep_alive_s=0.0) as (fleet, engines):
        for _ in range(3):
            used = await asyncio.gather(*(fleet.use("a") for _ in range(waiters)))
            assert len(set(used)) == 1
            await fleet.until(lambda: not engines.running)
        assert engines.started["a"] == 3


@in_loop
async def test_a_request_may_say_how_long_its_model_stays(monkeypatch):
    async with fleet_of(monkeypatch, card("a"), card("b", 20, keep_alive_s=-1.0), keep_alive_s=0.0) as (
        fleet,
        engines,
    ):
        await fleet.use("b")
        await fleet.use("a", keep_alive_s=-1.0)
        await settle()
        assert engines.names() == ["a", "b"]
        assert fleet.models["a"].deadline_s is None
        await fleet.use("a", keep_alive_s=0.0)
        await fleet.until(lambda: engines.names() == ["b"])
        await fleet.use("a")
        await fleet.until(lambda: engines.names() == ["b"])


@in_loop
async def test_for_ever_holds_until_a_request_says_otherwise_and_longest_where_room_is_wanted(monkeypatch):
    """As Ollama has it: a request that says nothing changes nothing; what is pinned is the last to go."""
    cards = card("a", 50), card("b", 40), card("c", 50), card("d", 100)
    async with fleet_of(monkeypatch, *cards, keep_alive_s=60.0) as (fleet, engines):
        await fleet.use("a", keep_alive_s=-1.0)
        await fleet.use("a")
        assert fleet.models["a"].keep_alive_s == -1.0
        await fleet.use("b")
        await fleet.use("c")  # a was used before b was
        assert engines.names() == ["a", "c"]
        await fleet.use("a", keep_alive_s=300.0)
        assert fleet.models["a"].deadline_s is not None
        await fleet.use("c")
        await fleet.use("b")
        assert engines.names() == ["b", "c"]
        await fleet.use("d")
        assert engines.names() == ["d"]


@in_loop
async def test_a_model_in_use_that_is_unloaded_leaves_after_use(monkeypatch):
    async with fleet_of(monkeypatch, card("a")) as (fleet, engines):
        done = asyncio.Event()
        use = asyncio.create_task(fleet.use("a", done))
        await settle()
        await fleet.fleet.unload("a")
        await settle()
        assert engines.names() == ["a"]
        done.set()
        await use
        await fleet.until(lambda: not engines.running)
        assert fleet.models["a"].keep_alive_s == -1.0


@in_loop
async def test_a_model_unloaded_while_it_loads_serves_who_asked_for_it(monkeypatch):
    async with fleet_of(monkeypatch, card("a")) as (fleet, engines):
        engines.hold("a")
        use = asyncio.create_task(fleet.use("a"))
        await settle()
        await fleet.fleet.unload("a")
        engines.release("a")
        await use
        await fleet.until(lambda: not engines.running)


@in_loop
async def test_unloading_what_is_not_loaded_changes_nothing(monkeypatch):
    async with fleet_of(monkeypatch, card("a")) as (fleet, engines):
        await fleet.fleet.unload("a")
        await fleet.use("a")
        await settle()
        assert engines.names() == ["a"]


@in_loop
async def test_a_model_that_fits_is_not_paged_because_its_estimate_was_low(monkeypatch):
    async with fleet_of(monkeypatch, card("a", 40, paged=20)) as (fleet, engines):
        short = BudgetError("too small")
        short.smallest_bytes = 45
        engines.fails["a"] = [short]
        await fleet.use("a")
        assert [(o.ram_bytes, o.never_page) for o in engines.orders] == [(40, True), (45, False)]


@in_loop
async def test_a_model_that_turns_out_not_to_fit_is_paged(monkeypatch):
    async with fleet_of(monkeypatch, card("a", ROOM, paged=20)) as (fleet, engines):
        short = BudgetError("too small")
        short.smallest_bytes = ROOM + 1
        engines.fails["a"] = [short]
        await fleet.use("a")
        assert [(o.ram_bytes, o.never_page) for o in engines.orders] == [(ROOM, True), (ROOM, False)]
