"""A prompt that is given up costs no more than itself, whatever the model's memory is made of.

The oracle of each case is an engine of its own that never saw the prompt given up: the same bits.
"""

import threading
from pathlib import Path

import numpy as np
import pytest

from sixgig.errors import EngineError
from sixgig.inference import Engine, EngineOptions
from sixgig.inference import engine as engine_module
from tests.tiny.models import DENSE, MIXTURES

OPTIONS = EngineOptions(context=512, ubatch=32, threads=2, checkpoint=True)
FIRST = [70 + i % 60 for i in range(50)]
ANSWER = [99, 101, 103]
GIVEN_UP = [140 + i % 90 for i in range(200)]
NEXT = [61, 62, 63, 64, 65]


class Stop(Exception):
    pass


def answered(engine: Engine) -> list[int]:
    engine.prefill(FIRST)
    for token in ANSWER:
        engine.feed([token])
    return [*FIRST, *ANSWER]


def undisturbed(path: Path, options: EngineOptions = OPTIONS) -> np.ndarray:
    with Engine(path, options) as engine:
        engine.prefill([*answered(engine), *NEXT])
        return engine.logits()


def give_up_between_ubatches(engine: Engine, prompt: list[int]) -> None:
    def stop(fraction: float) -> None:
        if fraction > 0.6:
            raise Stop

    with pytest.raises(Stop):
        engine.prefill(prompt, stop)


def give_up_inside_an_evaluation(engine: Engine, prompt: list[int]) -> None:
    begin = engine._begin

    def stopped(interruptible: bool) -> None:
        begin(interruptible)
        engine._handles.stop_flag.value = engine_module._STOP

    engine._begin = stopped
    with pytest.raises(EngineError, match="stopped"):
        engine.prefill(prompt)
    engine._begin = begin


@pytest.mark.parametrize("give_up", [give_up_between_ubatches, give_up_inside_an_evaluation])
@pytest.mark.parametrize("architecture", [*MIXTURES, *DENSE])
def test_after_a_prompt_given_up_only_what_is_new_is_evaluated(tiny, architecture, give_up):
    with Engine(tiny(architecture), OPTIONS) as engine:
        before = answered(engine)
        give_up(engine, [*before, *GIVEN_UP])
        assert engine.prefill([*before, *NEXT]) == len(NEXT)
        assert np.array_equal(engine.logits(), undisturbed(tiny(architecture)))


@pytest.mark.parametrize("architecture", ["qwen35moe", "llama"])
def test_a_prompt_stopped_deep_in_a_ubatch_leaves_what_was_before(tiny, architecture):
    options = EngineOptions(context=16384, ubatch=16384, threads=1, checkpoint=True)
    with Engine(tiny(architecture), options) as engine:
        before = answered(engine)
        timer = threading.Timer(0.3, engine.abort)
        timer.start()
        with pytest.raises(EngineError, match="stopped"):
            engine.prefill([*before, *(3 + i % 250 for i in range(16000))])
        timer.join()
        assert engine.tokens == before
        assert engine.prefill([*before, *NEXT]) == len(NEXT)
        assert np.array_equal(engine.logits(), undisturbed(tiny(architecture), options))


def test_an_answer_is_taken_back_to_where_its_prompt_began(tiny):
    """As another answer to the same line needs it: the line is evaluated again, nothing before it."""
    with Engine(tiny("qwen35moe"), OPTIONS) as engine:
        before = answered(engine)
        line = [*before, *NEXT]
        engine.prefill(line)
        logits = engine.logits()
        engine.feed([77])
        assert engine.prefill(line) == len(NEXT)
        assert np.array_equal(engine.logits(), logits)


def test_a_first_prompt_given_up_leaves_nothing(tiny):
    with Engine(tiny("qwen35moe"), OPTIONS) as engine:
        give_up_inside_an_evaluation(engine, GIVEN_UP)
        assert engine.tokens == []
        assert engine.prefill(NEXT) == len(NEXT)


def test_nothing_is_copied_where_memory_can_be_cut_anywhere(tiny):
    for architecture, copied in (("llama", False), ("qwen35moe", True), ("gpt-oss", True)):
        with Engine(tiny(architecture), OPTIONS) as engine:
            engine.prefill([*answered(engine), *NEXT])
            assert bool(len(engine._cache._saved)) == copied


def test_without_the_option_nothing_is_kept(tiny):
    with Engine(tiny("qwen35moe"), EngineOptions(context=512, ubatch=32, threads=2)) as engine:
        before = answered(engine)
        give_up_between_ubatches(engine, [*before, *GIVEN_UP])
        assert engine.prefill([*before, *NEXT]) == len(before) + len(NEXT)
