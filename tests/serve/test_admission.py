"""Who is let through, who waits, who is turned away."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.gateway.admission import Admission, QueueFullError


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 30))


class Visitor:
    """One request: enters, stays until told to leave."""

    def __init__(self, admission: Admission, model: str = "m", slots: int = 1) -> None:
        self.inside, self.go = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._visit(admission, model, slots))

    async def _visit(self, admission: Admission, model: str, slots: int) -> None:
        with contextlib.suppress(QueueFullError):
            async with admission.enter(model, slots):
                self.inside.set()
                await self.go.wait()

    async def leave(self) -> None:
        self.go.set()
        await self.task

    async def give_up(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_who_came_first_goes_first() -> None:
    async def scene() -> None:
        admission = Admission(10)
        first, second, third = (Visitor(admission) for _ in range(3))
        await settled()
        assert first.inside.is_set() and not second.inside.is_set() and not third.inside.is_set()
        await first.leave()
        await settled()
        assert second.inside.is_set() and not third.inside.is_set()
        await second.leave()
        await third.leave()
        assert (admission.running, admission.waiting) == (0, 0)

    run(scene())


def test_beyond_the_bound_a_request_is_turned_away_and_told_when_to_ask_again() -> None:
    async def scene() -> None:
        admission = Admission(1)
        inside, waiting = Visitor(admission), Visitor(admission)
        await settled()
        with pytest.raises(QueueFullError) as raised:
            async with admission.enter("m", 1):
                pass
        assert 1 <= raised.value.retry_after_s <= 60 and admission.rejected == 1
        await inside.leave()
        await waiting.leave()

    run(scene())


def test_a_bound_of_nothing_still_lets_through_who_need_not_wait() -> None:
    async def scene() -> None:
        admission = Admission(0)
        inside = Visitor(admission)
        await settled()
        assert inside.inside.is_set()
        with pytest.raises(QueueFullError):
            async with admission.enter("m", 1):
                pass
        await inside.leave()

    run(scene())


def test_models_do_not_wait_for_one_another() -> None:
    async def scene() -> None:
        admission = Admission(10)
        one, other = Visitor(admission, "one"), Visitor(admission, "other")
        await settled()
        assert one.inside.is_set() and other.inside.is_set()
        await one.leave()
        await other.leave()

    run(scene())


def test_who_gives_up_while_waiting_leaves_no_gap() -> None:
    async def scene() -> None:
        admission = Admission(10)
        first, second, third = (Visitor(admission) for _ in range(3))
        await settled()
        await second.give_up()
        assert admission.waiting == 1
        await first.leave()
        await settled()
        assert third.inside.is_set()
        await third.leave()

    run(scene())


def test_a_slot_given_to_one_who_gives_up_in_the_same_moment_goes_on() -> None:
    async def scene() -> None:
        admission = Admission(10)
        first, second, third = (Visitor(admission) for _ in range(3))
        await settled()
        first.go.set()
        await first.task  # the slot is second's now, which has not run yet
        await second.give_up()
        await settled()
        assert third.inside.is_set() and admission.running == 1
        await third.leave()
        assert admission.running == 0

    run(scene())


STEPS = st.lists(st.tuples(st.sampled_from(["come", "leave", "give up"]), st.integers(0, 30)), max_size=60)


@given(STEPS, st.integers(1, 4), st.integers(0, 5))
def test_slots_and_bound_hold_whatever_happens(steps: list[tuple[str, int]], slots: int, bound: int) -> None:
    async def scene() -> None:
        admission, visitors = Admission(bound), list[Visitor]()
        for step, which in steps:
            if step == "come":
                visitors.append(Visitor(admission, slots=slots))
            elif visitors:
                visitor = visitors.pop(which % len(visitors))
                if step == "give up":
                    await visitor.give_up()
                else:
                    visitor.go.set()
            await settled()
            assert admission.running <= slots and admission.waiting <= bound
            assert admission.waiting == 0 or admission.running == slots
        for visitor in visitors:
            visitor.go.set()
        await settled()
        for visitor in visitors:
            await visitor.task
        assert (admission.running, admission.waiting) == (0, 0)

    run(scene())
