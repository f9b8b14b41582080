import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import UsageError
from sixgig.inference import Engine, EngineOptions, Sampler, SamplingOptions, generate
from sixgig.inference.generate import Generation, StopStrings

OPTIONS = EngineOptions(context=512, ubatch=64, threads=2)
GREEDY = SamplingOptions(temperature=0)
ORACLE = Path(__file__).with_name("server_oracle.py")


@pytest.fixture(scope="module")
def engine(tiny):
    with Engine(tiny("qwen3moe"), OPTIONS) as engine:
        yield engine


def from_the_server(path, prompt, count):
    command = [sys.executable, str(ORACLE), str(path), str(count), *map(str, prompt)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    lines = [line for line in done.stdout.splitlines() if line.startswith("TOKENS ")]
    assert lines, done.stderr[-2000:]
    return json.loads(lines[-1].removeprefix("TOKENS "))


def assert_greedy_as_the_server(path, prompt, count):
    with Engine(path, OPTIONS) as engine:
        run = generate(engine, prompt, count, Sampler(engine, GREEDY))
        list(run)
        ours, theirs = run.result.token_ids, from_the_server(path, prompt, count)
        assert len(ours) > 5
        assert ours == [token for token in theirs if not engine.vocabulary.is_end(token)]


@pytest.mark.parametrize("architecture", ["qwen35moe", "gpt-oss"])
def test_greedy_tokens_are_those_of_the_wheels_own_server(tiny, architecture):
    prompt = [70, 80, 90, 100, 110, 120, 75, 85]
    assert_greedy_as_the_server(tiny(architecture), prompt, 24)


def test_greedy_tokens_of_the_trained_model_are_those_of_the_wheels_own_server(shared_model):
    prompt = [617, 494, 1581, 263, 543, 950, 333]
    assert_greedy_as_the_server(shared_model, prompt, 32)


def test_greedy_takes_the_largest_logit(engine):
    engine.prefill([70, 80, 90])
    sampler = Sampler(engine, GREEDY)
    assert sampler.sample(engine) == int(np.argmax(engine.logits()))


def text_of(engine, options, count=30):
    sampler = Sampler(engine, options)
    run = generate(engine, [70, 80, 90], count, sampler, ignore_end=True)
    list(run)
    sampler.close()
    sampler.close()
    return run.result.token_ids, sampler.seed


def test_a_seed_repeats_and_an_absent_one_is_told(engine):
    ids, seed = text_of(engine, SamplingOptions())
    assert text_of(engine, SamplingOptions(seed=seed))[0] == ids
    assert text_of(engine, SamplingOptions(seed=seed ^ 1))[0] != ids


def test_top_k_of_one_is_greedy(engine):
    assert text_of(engine, SamplingOptions(top_k=1, seed=1))[0] == text_of(engine, GREEDY)[0]


def test_draws_follow_the_distribution(engine):
    """400 draws at temperature 1 without filters: the mean log-probability is the distribution's own."""
    engine.prefill([70, 80, 90])
    logits = engine.logits().astype(np.float64)
    log_p = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
    sampler = Sampler(engine, SamplingOptions(temperature=1, top_k=0, top_p=1, min_p=0, seed=5))
    drawn = log_p[[sampler.sample(engine) for _ in range(400)]]
    mean = (np.exp(log_p) * log_p).sum()
    deviation = np.sqrt((np.exp(log_p) * (log_p - mean) ** 2).sum() / 400)
    assert abs(drawn.mean() - mean) < 5 * deviation + 1e-9


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"top_k": -1},
        {"seed": 2**32},
    ],
)
def test_impossible_sampling_is_a_usage_error(values):
    with pytest.raises(UsageError, match="not possible; from"):
        SamplingOptions(**values)


def test_the_result_counts_and_measures(engine):
    engine.clear()
    run = generate(engine, [70, 80, 90, 100], 10, Sampler(engine, GREEDY), ignore_end=True)
    text = "".join(run)
    result = run.result
    assert result.text == text == engine.vocabulary.text(result.token_ids)
    assert (result.prompt_tokens, result.prefill_tokens, result.decode_steps) == (4, 4, 9)
    assert result.prefill_tokens_per_s > 0 and result.decode_tokens_per_s > 0
    assert result.finish == "length" and len(result.token_ids) == 10
    assert Generation().decode_tokens_per_s == 0.0


def test_no_tokens_asked_none_given(engine):
    run = generate(engine, [70, 80], 0, Sampler(engine, GREEDY))
    assert list(run) == [] and run.result.finish == "length"


def test_a_full_context_ends_a_generation(tiny):
    with Engine(tiny("llama"), EngineOptions(context=256, threads=2)) as engine:
        run = generate(engine, [70] * 250, None, Sampler(engine, GREEDY), ignore_end=True)
        list(run)
        assert run.result.finish == "context"
        assert len(run.result.token_ids) == 7 and engine.room == 0


def test_the_models_end_ends_it(engine, monkeypatch):
    ids, _ = text_of(engine, GREEDY)
    last = ids[5]
    monkeypatch.setattr(engine.vocabulary, "is_end", lambda token: token == last)
    run = generate(engine, [70, 80, 90], 30, Sampler(engine, GREEDY))
    list(run)
    assert run.result.finish == "end" and run.result.token_ids == ids[: ids.index(last)]


def test_a_stop_string_ends_it_and_is_not_shown(engine):
    whole = generate(engine, [70, 80, 90], 30, Sampler(engine, SamplingOptions(seed=1)), ignore_end=True)
    text = "".join(whole)
    stop = text[6:9]
    run = generate(
        engine, [70, 80, 90], 30, Sampler(engine, SamplingOptions(seed=1)), ["unseen", stop], ignore_end=True
    )
    assert "".join(run) == text[: text.index(stop)] == run.result.text
    assert run.result.finish == "stop"


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), st.data())
def test_stop_strings_cut_wherever_the_pieces_break(text, strings, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    stop, shown = StopStrings(strings), ""
    for piece in pieces:
        shown += stop.feed(piece)
        if stop.found:
            break
    shown += stop.finish()
    ends = [at + len(string) for string in strings if (at := text.find(string)) >= 0]
    assert stop.found == bool(ends)
    assert text.startswith(shown)
    assert not any(string in shown for string in strings)
    assert stop.found or shown == text
