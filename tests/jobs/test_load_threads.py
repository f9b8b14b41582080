"""An open model and threads: stopped, closed and interrupted in the middle, asked by two at once."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sixgig
from sixgig.hardware.memory import ProcessMemory
from sixgig.inference import chat_format
from sixgig.jobs.opening import demo_path
from tests.tiny.lexicon import write

PROMPT = "PEP: 9999\nTitle: "
LONG = "PEP 8 is a style guide. " * 120
PATIENCE_S = 60.0


@pytest.fixture
def model() -> Iterator[sixgig.Model]:
    """A prompt that is read two tokens at a time takes long enough to be stopped in the middle."""
    with sixgig.load(context=1024, ubatch=2, threads=1) as model:
        yield model


class Thread(threading.Thread):
    """Keeps what its work gave or raised."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work, self.gave, self.raised = work, None, None
        self.start()

    def run(self) -> None:
        try:
            self.gave = self._work()
        except BaseException as error:
            self.raised = error

    def ended(self) -> bool:
        self.join(PATIENCE_S)
        return not self.is_alive()


def greedy(model: sixgig.Model, n_tokens: int = 8) -> str:
    return "".join(model.generate(PROMPT, n_tokens, temperature=0))


def until(condition: Callable[[], object]) -> None:
    given_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < given_up
        time.sleep(0.005)


@pytest.mark.parametrize("prompt", [LONG, PROMPT])
def test_a_text_stopped_from_another_thread_ends_and_the_next_is_right(
    model: sixgig.Model, prompt: str
) -> None:
    """While the prompt is read, and while tokens are chosen."""
    expected = greedy(model)
    answer = model.generate(prompt, temperature=0)
    reading = Thread(lambda: list(answer))
    until(lambda: model._engine.tokens[-1:] and len(model._engine.tokens) > 30)
    model.stop()
    assert "".join(model.generate(PROMPT, 8, temperature=0)) == expected  # free at once
    assert reading.ended() and reading.raised is None
    assert answer.result.finish == "stopped" and answer.result.text == "".join(reading.gave)
    assert not answer.result.text if prompt is LONG else answer.result.text


def test_stopping_before_the_first_piece_and_when_nothing_runs(model: sixgig.Model) -> None:
    model.stop()
    answer = model.generate(PROMPT, 8)
    model.stop()
    assert list(answer) == [] and answer.result.finish == "stopped"
    whole = model.generate(PROMPT, 8)
    assert list(whole)
    model.stop()
    assert whole.result.finish == "length"
    assert greedy(model)


def test_a_chat_stopped_in_the_middle_keeps_what_was_said(model: sixgig.Model) -> None:
    talk = model.converse(raw=True, temperature=0)
    pieces = talk.ask(PROMPT)
    for piece in pieces:
        if len(pieces.result.token_ids) == 6:
            model.stop()
        assert piece
    assert pieces.result.finish == "stopped" and len(pieces.result.token_ids) == 6 and talk.kept


def test_stopping_over_and_over_never_hits_the_text_after(model: sixgig.Model) -> None:
    """However the moments fall: a text that nobody stopped is whole."""
    expected, over = greedy(model), threading.Event()
    current = list[sixgig.Answer]()

    def stop() -> None:
        while not over.wait(0.003):
            model.stop()

    stopping = Thread(stop)
    for _ in range(30):
        answer = model.generate(PROMPT, 8, temperature=0)
        current.append(answer)
        text = "".join(answer)
        assert answer.result.finish in ("stopped", "length")
        assert expected.startswith(text) and (answer.result.finish == "stopped" or text == expected)
    over.set()
    assert stopping.ended() and stopping.raised is None
    assert greedy(model) == expected


def test_two_threads_at_once_are_one_error_and_the_first_goes_on(model: sixgig.Model) -> None:
    expected = greedy(model, 200)
    answer = model.generate(PROMPT, 200, temperature=0)
    reading = Thread(lambda: "".join(answer))
    until(lambda: answer.result.token_ids)
    refused = 0
    while reading.is_alive():
        for ask in (
            lambda: greedy(model),
            lambda: next(model.generate("x")),
            lambda: model.converse().clear(),
        ):
            try:
                ask()
            except sixgig.UsageError as error:
                refused += "the model is in use; another thread generates with it" in str(error)
        model.tokenize("text")
        assert model.stats.work.n_texts
    assert refused and reading.gave == expected
    assert greedy(model)


def test_an_answer_may_be_iterated_by_thread_after_thread(model: sixgig.Model) -> None:
    """As web servers do with generators."""
    expected = greedy(model)
    answer, text = model.generate(PROMPT, 8, temperature=0), ""
    while (step := Thread(lambda: next(answer, None))).ended() and step.gave is not None:
        text += step.gave
    assert text == expected


def test_asking_within_a_callback_is_refused_and_nothing_hangs(model: sixgig.Model) -> None:
    class Asking(sixgig.Reporter):
        def plan(self, words: str) -> None:
            self.words = words

        def shown(self, *_: object) -> Any:
            with pytest.raises(sixgig.UsageError, match="the model is in use"):
                model.generate("x")
            assert model.tokenize("x")
            self.asked = True
            return super().shown("", False, None)

    reporter = Asking()
    model._reporter = reporter
    assert greedy(model) and reporter.asked


@pytest.mark.parametrize("prompt", [LONG, PROMPT])
def test_closing_from_another_thread_ends_the_text_with_one_error(prompt: str) -> None:
    model = sixgig.load(context=1024, ubatch=2, threads=1)
    reading = Thread(lambda: list(model.generate(prompt, temperature=0)))
    until(lambda: len(model._engine.tokens) > 30)
    model.close()
    assert reading.ended() and isinstance(reading.raised, sixgig.UsageError)
    assert str(reading.raised) == "the model is closed; load it again"
    assert model.stats.peak_memory_bytes > 0


def test_closing_within_a_text_ends_it(model: sixgig.Model) -> None:
    pieces = model.generate(PROMPT, 100)
    next(pieces)
    model.close()
    with pytest.raises(sixgig.UsageError, match="the model is closed"):
        next(pieces)


def test_a_cancelled_reporter_ends_loading_and_generating() -> None:
    reporter = sixgig.Reporter()
    with sixgig.load(context=256, reporter=reporter) as model:
        pieces = model.generate(PROMPT, 100)
        next(pieces)
        reporter.cancel()
        with pytest.raises(sixgig.Cancelled):
            list(pieces)
    with pytest.raises(sixgig.Cancelled):
        sixgig.load(context=256, reporter=reporter)


INTERRUPTED = """
import os, signal, sys, threading, time
import sixgig
signal.signal(signal.SIGINT, signal.default_int_handler)
def interrupt(when):
    while not when():
        time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGINT)
with sixgig.load(context=1024, ubatch=2, threads=1) as model:
    expected = "".join(model.generate("PEP: 9999", 8, temperature=0))
    for prompt in (sys.argv[1], "PEP: 9999\\nTitle: "):
        asked = model.generate(prompt, temperature=0)
        waiting = [lambda: len(model._engine.tokens) > 40]
        threading.Thread(target=interrupt, args=waiting, daemon=True).start()
        try:
            for piece in asked:
                pass
            print("not interrupted")
        except KeyboardInterrupt:
            pass
        assert "".join(model.generate("PEP: 9999", 8, temperature=0)) == expected
print("right")
"""


def test_ctrl_c_is_a_keyboard_interrupt_and_the_model_stays_usable() -> None:
    """As in a notebook: within the prompt, and within the text."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, LONG], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr


def test_a_loop_of_asyncio_gets_the_signals_that_came_meanwhile(model: sixgig.Model) -> None:
    got = list[str]()

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, lambda: got.append("told"))
        pieces = model.generate(LONG)
        threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
        next(pieces)
        await asyncio.sleep(0.1)

    asyncio.run(work())
    assert got == ["told"]


def test_a_signal_that_the_program_handles_itself_ends_no_text(model: sixgig.Model) -> None:
    got = list[int]()
    before = signal.signal(signal.SIGINT, lambda number, _: got.append(number))
    try:
        threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        assert len(list(model.generate(LONG, 2))) and got == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("paged", [False, True])
def test_models_load_and_close_while_another_generates(paged: bool, tmp_path: Path) -> None:
    paging = sixgig.PagingOptions(always=paged)

    def text_of(model: sixgig.Model, n_tokens: int = 16) -> str:
        return greedy(model, n_tokens)

    with sixgig.load(demo_path(), context=256, threads=1, paging=paging) as model:
        expected, over = text_of(model), threading.Event()

        def generate() -> int:
            n_texts = 0
            while not over.is_set():
                assert text_of(model) == expected
                n_texts += 1
            return n_texts

        generating = Thread(generate)
        for _ in range(4):
            with sixgig.load(demo_path(), context=256, threads=1, paging=paging) as other:
                assert text_of(other) == expected
        over.set()
        assert generating.ended() and generating.raised is None and generating.gave


SLOW = "{% for i in range(1000) %}{% endfor %}{{ messages[0].content }}"
GREEDY_FOR_MEMORY = (
    "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}x"
)


def test_a_template_is_not_blamed_for_the_memory_that_other_threads_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another model loads the process grows at each look; what the template itself takes is bounded."""
    grown = itertools.count(0, 300 << 20)
    with (
        sixgig.load(write(tmp_path / "slow.gguf", "bpe", SLOW), context=256) as model,
        monkeypatch.context() as patch,
    ):
        patch.setattr(chat_format, "process_memory", lambda: ProcessMemory(next(grown), 0, 0, 0))
        assert "".join(model.chat([{"role": "user", "content": "the cat"}], 4))
    with (
        sixgig.load(write(tmp_path / "greedy.gguf", "bpe", GREEDY_FOR_MEMORY), context=256) as model,
        pytest.raises(sixgig.ModelFileError, match="it took more than"),
    ):
        model.chat([{"role": "user", "content": "the cat"}], 1)
