"""Speeds against a clock that only moves when somebody works: what is printed is what a stopwatch shows."""

import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from sixgig.inference.generate import TextRun, generate
from sixgig.jobs import measuring

PREFILL_S, FEED_S, SAMPLE_S, READ_S, CONSUMER_S = 7.0, 2.0, 3.0, 0.5, 100.0
END = 99


class Clock:
    """Stands for a module `time`."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Work:
    """An engine, its sampler and its reader, each of which takes its seconds."""

    def __init__(self, clock: Clock, tokens: Sequence[int]) -> None:
        self._clock, self._tokens, self.room = clock, list(tokens), 1000
        self.vocabulary = SimpleNamespace(is_end=lambda token: token == END)
        self.ended, self.ubatch, self.pager, self.reasoning = False, 64, None, ""

    def prefill(self, prompt: Sequence[int], progress: Any) -> int:
        self._clock.now += PREFILL_S
        return len(prompt)

    def feed(self, token: Any) -> str:
        """As the engine, of a list; as the reader, of a token."""
        self._clock.now += FEED_S if isinstance(token, list) else READ_S
        return "x"

    def finish(self) -> str:
        return ""

    def heed(self, prompt: Sequence[int]) -> None:
        pass

    def sample(self, engine: Any) -> int:
        self._clock.now += SAMPLE_S
        return self._tokens.pop(0)

    def counters(self) -> None:
        return None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("sixgig.inference.generate", "sixgig.jobs.measuring"):
        monkeypatch.setattr(sys.modules[module], "time", clock)
    return clock


def run(clock: Clock, tokens: Sequence[int], limit: int | None) -> tuple[TextRun, float]:
    """The run, over, and what a stopwatch shows that stands still while the text is read."""
    work: Any = Work(clock, tokens)
    pieces, watch, started = generate(work, [1, 2, 3], limit, work, reader=work), 0.0, clock.now
    for _ in pieces:
        watch, started = watch + clock.now - started, clock.now + CONSUMER_S
        clock.now += CONSUMER_S
    return pieces, watch + clock.now - started


@pytest.mark.parametrize(("tokens", "limit", "n_steps"), [([5] * 10, 10, 9), ([*[5] * 10, END], None, 10)])
def test_tokens_per_second_hold_all_that_is_done_for_a_token(
    clock: Clock, tokens: list[int], limit: int | None, n_steps: int
) -> None:
    pieces, watch_s = run(clock, tokens, limit)
    result = pieces.result
    each_s = FEED_S + SAMPLE_S + READ_S
    assert result.prefill_s == PREFILL_S + SAMPLE_S
    assert result.decode_steps == n_steps and result.decode_s == pytest.approx(n_steps * each_s)
    assert result.decode_tokens_per_s == pytest.approx(1 / each_s)
    assert result.prefill_s + result.decode_s == pytest.approx(watch_s, abs=READ_S)


def test_an_interrupted_run_has_counted_what_it_did(clock: Clock) -> None:
    work: Any = Work(clock, [5] * 10)
    pieces = generate(work, [1, 2, 3], None, work, reader=work)
    for _ in range(4):
        next(pieces)
    assert pieces.result.decode_steps == 3
    assert pieces.result.decode_s == pytest.approx(3 * (FEED_S + SAMPLE_S + READ_S))


def test_a_bench_decodes_as_run_does_with_a_choice_for_each_token(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    work: Any = Work(clock, [5] * 10)
    monkeypatch.setattr(measuring, "Sampler", lambda engine, options: work)
    monkeypatch.setattr(measuring, "abort_on_interrupt", lambda engine: SimpleContext())
    prompt, decode = measuring.measure_phases(work, [1, 2, 3, 4, 5, 6, 7], 3, lambda fraction: None)
    assert (prompt.seconds, decode.seconds) == (PREFILL_S, 4 * (FEED_S + SAMPLE_S))
    assert decode.tokens_per_s == 1 / (FEED_S + SAMPLE_S)


class SimpleContext:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_error: object) -> None:
        pass
