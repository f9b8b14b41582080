"""What stays of a turn that was left, failed, taken back or had no room."""

from collections.abc import Callable, Iterator

import pytest

from sixgig.errors import ReadError, UsageError
from sixgig.inference import (
    Asking,
    Continuation,
    Conversation,
    Engine,
    EngineOptions,
    Generation,
    Sampler,
    SamplingOptions,
)

GREEDY = SamplingOptions(temperature=0)
Make = Callable[[Engine], Asking]
KINDS = [lambda engine: Conversation(engine, engine.chat_format(), "Be kind."), Continuation]


@pytest.fixture(params=["qwen35moe", "llama"])
def engine(tiny, request) -> Iterator[Engine]:
    with Engine(
        tiny(request.param), EngineOptions(context=256, ubatch=32, threads=2, checkpoint=True)
    ) as engine:
        yield engine


class Leaving(Sampler):
    """Ctrl-C, or what `error` is, when the token of that number is chosen."""

    def __init__(self, engine: Engine, at: int, error: BaseException) -> None:
        super().__init__(engine, GREEDY)
        self._left, self._error = at, error

    def sample(self, engine: Engine) -> int:
        self._left -= 1
        if self._left < 0:
            raise self._error
        return super().sample(engine)


def answer(asking: Asking, engine: Engine, line: str, n: int = 6) -> Generation:
    run = asking.ask(line, n, Sampler(engine, GREEDY))
    assert list(run) and asking.kept
    return run.result


def leave(asking: Asking, engine: Engine, line: str, at: int, error: BaseException) -> Generation:
    run = asking.ask(line, 12, Leaving(engine, at, error))
    with pytest.raises(type(error)):
        list(run)
    return run.result


def undisturbed(engine: Engine, make: Make, *lines: str) -> Generation:
    """The last answer of a chat of these lines alone."""
    asking = make(engine)
    asking.clear()
    return [answer(asking, engine, line) for line in lines][-1]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize(
    ("at", "error"), [(0, KeyboardInterrupt()), (4, ReadError("cannot read")), (0, ReadError("cannot read"))]
)
def test_a_turn_that_failed_or_was_left_before_it_spoke_is_forgotten(engine, make, at, error):
    asking = make(engine)
    answer(asking, engine, "Hello")
    leave(asking, engine, "a line of many words " * 4, at, error)
    assert not asking.kept
    after = answer(asking, engine, "Hi")
    assert after.prefill_tokens < 40
    alone = undisturbed(engine, make, "Hello", "Hi")
    assert (after.token_ids, after.prompt_tokens) == (alone.token_ids, alone.prompt_tokens)


@pytest.mark.parametrize("make", KINDS)
def test_an_answer_that_was_left_stays_as_far_as_it_came(engine, make):
    asking = make(engine)
    left = leave(asking, engine, "Hello", 8, KeyboardInterrupt())
    assert asking.kept and left.text
    after = answer(asking, engine, "Hi")
    assert after.prompt_tokens > left.prompt_tokens + len(left.token_ids)
    assert after.prefill_tokens <= after.prompt_tokens - left.prompt_tokens - len(left.token_ids) + 1


@pytest.mark.parametrize("make", KINDS)
def test_a_turn_taken_back_is_asked_again_as_if_for_the_first_time(engine, make):
    asking = make(engine)
    answer(asking, engine, "Hello")
    second = answer(asking, engine, "And again")
    asking.take_back()
    asking.take_back()  # of no effect: the first turn stays
    again = answer(asking, engine, "And again")
    assert (again.token_ids, again.prompt_tokens) == (second.token_ids, second.prompt_tokens)
    assert again.prefill_tokens < 40


@pytest.mark.parametrize("make", KINDS)
def test_a_full_context_drops_the_turns_and_a_line_too_long_is_refused(engine, make):
    asking = make(engine)
    while not (run := asking.ask("Hi", 6, Sampler(engine, GREEDY))).result.dropped_turns:
        list(run)
    list(run)
    assert run.result.token_ids == undisturbed(engine, make, "Hi").token_ids
    with pytest.raises(UsageError, match="longer than the context"):
        list(asking.ask("word " * 400, 6, Sampler(engine, GREEDY)))
    assert asking.ask("Hi", 6, Sampler(engine, GREEDY)).result.dropped_turns == 0


@pytest.mark.parametrize("make", KINDS)
def test_clear_empties_the_cache_and_the_chat(engine, make):
    asking = make(engine)
    first = answer(asking, engine, "Hello")
    asking.clear()
    assert engine.tokens == []
    again = answer(asking, engine, "Hello")
    assert (again.token_ids, again.prefill_tokens) == (first.token_ids, first.prompt_tokens)
