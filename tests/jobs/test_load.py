"""sixgig.load(): texts and chats from Python, what they took, and what is refused."""

import gc
import json
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

import sixgig
from sixgig.cli.main import main
from sixgig.inference import Conversation, Engine, EngineOptions, Sampler, SamplingOptions
from sixgig.inference.history import past_runs
from sixgig.jobs import model as job
from sixgig.jobs.opening import demo_path
from sixgig.modelfile import open_model
from sixgig.pager.trace import TraceFile
from tests.jobs.reporters import Recorder
from tests.null.test_answers import FINAL, HARMONY, PLAIN, THOUGHT
from tests.null.test_prompts import Scripted
from tests.tiny.lexicon import write

PROMPT = "PEP: 9999\nTitle: "
ENDS = 4  # the token that ends a turn


@pytest.fixture(scope="module")
def model() -> Iterator[sixgig.Model]:
    with sixgig.load(context=256, ubatch=64, threads=2) as model:
        yield model


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


def test_a_text_is_that_of_the_command_line(model: sixgig.Model, capsys: pytest.CaptureFixture[str]) -> None:
    pieces = model.generate(PROMPT, 24, temperature=0)
    text = "".join(pieces)
    options = (
        "--raw",
        "--context",
        "256",
        "--ubatch",
        "64",
        "--threads",
        "2",
        "-n",
        "24",
        "--temperature",
        "0",
    )
    assert main(["run", str(demo_path()), "-p", PROMPT, "--json", *options]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["text"], made["token_ids"]) == (text, pieces.result.token_ids)
    assert text == pieces.result.text and pieces.result.finish == made["finish"] == "length"


def test_what_two_prompts_share_is_evaluated_once(model: sixgig.Model) -> None:
    first = model.generate(PROMPT + "Generators", 8, temperature=0)
    text = "".join(first)
    more = model.generate(PROMPT + "Generators" + text + " and so on", 8, temperature=0)
    list(more)
    assert more.result.prefill_tokens < first.result.prompt_tokens < more.result.prompt_tokens


def test_a_chat_given_in_whole_is_answered_as_one_that_grows(tmp_path: Path) -> None:
    path = write(tmp_path / "plain.gguf", "bpe", PLAIN)
    with Engine(path, EngineOptions(context=256, threads=2)) as engine:
        grown = Conversation(engine, engine.chat_format())
        greedy = Sampler(engine, SamplingOptions(temperature=0))
        asked = [grown.ask(line, 6, greedy) for line in ("the cat",) if True]
        list(asked[0])
        second = grown.ask("on", 6, greedy)
        list(second)
    with sixgig.load(path, context=256, threads=2) as model:
        first = model.chat(chat("the cat"), 6, temperature=0)
        answer = "".join(first)
        again = model.chat(chat("the cat", answer, "on"), 6, temperature=0)
        list(again)
    assert first.result.token_ids == asked[0].result.token_ids
    assert again.result.token_ids == second.result.token_ids
    assert again.result.prefill_tokens == second.result.prefill_tokens < again.result.prompt_tokens


def test_thinking_is_beside_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Script(Scripted):
        seed = 1

        def __init__(self, engine: Engine, options: SamplingOptions) -> None:
            super().__init__(engine.vocabulary.tokenize(THOUGHT + FINAL + "On the mat."), ENDS)

    monkeypatch.setattr(job, "Sampler", Script)
    thought = list[str]()
    with sixgig.load(write(tmp_path / "thinks.gguf", "bpe", HARMONY), context=256) as model:
        answer = model.chat(chat("Where?"), thinking=thought.append)
        assert "".join(answer) == answer.result.text == "On the mat."
        assert "".join(thought) == answer.result.reasoning == "the cat\n\nsat"


def test_the_file_decides_how_tokens_are_chosen_unless_told(tmp_path: Path) -> None:
    fields = {"general.sampling.temp": 0.0, "general.sampling.mirostat": 9}
    heard = Recorder()
    with sixgig.load(write(tmp_path / "asks.gguf", "bpe", PLAIN, fields=fields), reporter=heard) as model:
        asked, drawn = (
            ["".join(model.generate("the cat", 8, seed=seed, **more)) for seed in (1, 2, 3)]
            for more in ({}, {"temperature": 2.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0})
        )
        assert len(set(asked)) == 1 and len(set(drawn)) == 3
        assert drawn[0] == "".join(
            model.generate("the cat", 8, seed=1, temperature=2.0, top_k=0, top_p=1.0, min_p=0.0)
        )
    told = [words for _, words in heard.told if "sampling" in words]
    assert told == [
        "sampling as the model file asks: temperature 0",
        "general.sampling.mirostat of the model file cannot be obeyed: '9'; llama.cpp's default",
    ]


def test_stop_strings_end_a_text_and_are_no_part_of_it(model: sixgig.Model) -> None:
    whole = "".join(model.generate(PROMPT, 24, temperature=0))
    stop = whole[10:13]
    answer = model.generate(PROMPT, 24, temperature=0, stop=[stop])
    assert "".join(answer) == whole[: whole.index(stop)] and answer.result.finish == "stop"


def test_a_string_to_stop_at_is_one_not_its_characters(model: sixgig.Model) -> None:
    several = "".join(model.generate(PROMPT, 24, temperature=0))[10:13]
    text = "".join(model.generate(PROMPT, 24, temperature=0, stop=[several]))
    assert several not in text
    assert "".join(model.generate(PROMPT, 24, temperature=0, stop=several)) == text
    talk = model.converse(raw=True, temperature=0)
    assert "".join(talk.ask(PROMPT, 24, stop=several)) == text


NAMED = """
import sixgig
for asked in (10 << 20, 20 << 20, 100 << 20):
    try:
        sixgig.load(ram=asked)
    except sixgig.BudgetError as error:
        smallest = error.smallest_bytes
        assert smallest and f"{smallest >> 20}M" in error.cure
with sixgig.load(ram=smallest) as model:
    assert model.plan.ram_budget_bytes == smallest
"""


def test_the_budget_that_a_refusal_names_works() -> None:
    """In a program of its own: what other tests left to this one's memory comes and goes."""
    assert sixgig.BudgetError("it does not fit").smallest_bytes is None
    done = subprocess.run([sys.executable, "-c", NAMED], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_an_answer_is_read_in_one_word_and_says_where_it_stands(model: sixgig.Model) -> None:
    answer = model.generate(PROMPT, 8, temperature=0)
    assert repr(answer) == "<Answer: not begun>" and not answer.result.prefill_tokens
    first = next(answer)
    assert repr(answer).endswith("so far>")
    whole = answer.read()
    assert whole == answer.read() == answer.result.text and whole.startswith(first)
    assert repr(answer) == "<Answer: 8 tokens, length>"
    assert model.generate(PROMPT, 8, temperature=0).read() == whole
    left = model.generate(PROMPT, 8)
    next(left)
    left.close()
    assert repr(left).endswith(", left>")


def test_an_answer_and_a_model_show_only_what_is_there_for_others(model: sixgig.Model) -> None:
    def offered(one: object) -> set[str]:
        return {name for name in dir(one) if not name.startswith("_")}

    assert offered(model.generate(PROMPT)) == {"close", "read", "result"}
    assert sixgig.Answer.result.__doc__
    lent = {"generate", "chat", "converse", "tokenize", "detokenize", "context", "plan", "stats"}
    assert offered(model) == lent | {"stop", "close"}


@pytest.mark.parametrize("stop", ["", [""], ["a", 3], [None]])
def test_what_ends_no_text_is_refused(model: sixgig.Model, stop: Any) -> None:
    asked: list[Any] = [
        lambda: model.generate(PROMPT, stop=stop),
        lambda: model.chat(chat("x"), stop=stop),
        lambda: model.converse(raw=True).ask("x", stop=stop),
    ]
    for ask in asked:
        with pytest.raises(sixgig.UsageError, match=r"a stop string "):
            ask()


def test_none_is_the_default_of_every_option_that_shows_it() -> None:
    nothing = dict.fromkeys(("ram", "vram", "threads", "ubatch", "adapter", "paging", "trace", "reporter"))
    with sixgig.load(context=256, **nothing) as model:
        assert model.plan.mode == "unpaged"
        answer = model.generate(PROMPT, 4, stop=None, temperature=None, seed=None)
        assert "".join(answer) == answer.result.text
        talk = model.converse(raw=True, system=None)
        assert "".join(talk.ask(PROMPT, 4, stop=None, thinking=None))


def test_tokens_and_back(model: sixgig.Model) -> None:
    assert model.detokenize(model.tokenize("The interpreter.", special=False)) == "The interpreter."


def test_stats_are_of_all_so_far_and_stay(tmp_path: Path) -> None:
    trace = tmp_path / "routing.trace"
    paging = sixgig.PagingOptions(always=True)
    with sixgig.load(demo_path(), ram=1 << 30, context=256, paging=paging, trace=trace) as model:
        before = model.stats
        assert before.work.n_texts == before.work.tokens == 0 and before.load_s > 0
        runs = [model.generate(PROMPT, 8, temperature=0), model.generate("A", 5)]
        for pieces in runs[:1]:
            list(pieces)
        half = model.generate("A", 200)
        next(half)
        assert model.stats.work.n_texts == 2  # what is under way counts
    stats, plan = model.stats, model.plan
    assert (stats.work.n_texts, stats.work.tokens) == (2, 8 + len(half.result.token_ids))
    assert stats.work.decode_steps == runs[0].result.decode_steps + half.result.decode_steps
    assert stats.work.first_prompt_tokens == runs[0].result.prefill_tokens
    assert stats.hit_rate is not None and 0 < stats.hit_rate < 1 and stats.bytes_read > 0
    assert plan.mode == "paged" and 0 < stats.peak_memory_bytes <= 1 << 30
    assert stats.peak_memory_bytes == stats.peak.owned_bytes + stats.peak.file_bytes
    assert len(list(TraceFile(trace))) > 8
    with pytest.raises(FrozenInstanceError):
        stats.load_s = 0.0  # type: ignore[misc]


def test_a_run_is_remembered_only_where_that_was_asked_for(model: sixgig.Model) -> None:
    list(model.generate(PROMPT * 8, 20))
    before = len(past_runs())
    for remember in (False, True):
        with sixgig.load(context=256, threads=None, remember=remember) as other:
            list(other.generate(PROMPT * 8, 20))
    assert len(past_runs()) - before <= 1  # on a busy machine it is not even then


def test_a_prompt_given_up_leaves_the_model_usable(model: sixgig.Model) -> None:
    whole = "".join(model.generate(PROMPT, 8, temperature=0))
    with pytest.raises(sixgig.UsageError, match="longer than the context"):
        list(model.generate("word " * 400))
    assert "".join(model.generate(PROMPT, 8, temperature=0)) == whole


def test_a_text_left_half_read_ends_when_another_begins(model: sixgig.Model) -> None:
    whole = "".join(model.generate(PROMPT, 8, temperature=0))
    left = model.generate(PROMPT, 100)
    next(left)
    assert "".join(model.generate(PROMPT, 8, temperature=0)) == whole
    with pytest.raises(sixgig.UsageError, match="this text was left; another was begun on the model"):
        next(left)
    dropped = model.generate(PROMPT, 100)
    next(dropped)
    del dropped
    gc.collect()
    closed = model.generate(PROMPT, 100)
    next(closed)
    closed.close()
    closed.close()
    assert list(closed) == []
    assert "".join(model.generate(PROMPT, 8, temperature=0)) == whole


def test_a_closed_model_says_so_whatever_is_asked() -> None:
    with sixgig.load(context=256) as model:
        half, whole = model.generate(PROMPT, 100), model.converse(raw=True)
        next(half)
    model.close()
    asked: list[Any] = [
        lambda: model.generate("x"),
        lambda: model.chat(chat("x")),
        lambda: whole.ask("x"),
        whole.clear,
        lambda: model.tokenize("x"),
        lambda: model.detokenize([1]),
        lambda: next(half),
    ]
    for ask in asked:
        with pytest.raises(sixgig.UsageError, match="the model is closed; load it again"):
            ask()
    model.stop()
    half.close()


def test_a_model_without_experts_is_not_told_to_page_for_a_trace(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(sixgig.UsageError, match="the model has no routed experts; leave it out"):
        sixgig.load(tiny("llama"), context=64, trace=tmp_path / "trace")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"ram": "6G"},
            "--ram of '6G' is not possible; a whole number is needed; sizes are bytes: 6 << 30 is 6 GiB",
        ),
        ({"ram": 6e9}, "--ram of 6000000000.0 is not possible"),
        ({"ram": -1}, "--ram of -1 is not possible"),
        ({"vram": "4G"}, "--vram of '4G'"),
        ({"context": 0}, "--context of 0 is not possible; at least 1"),
        ({"threads": 0}, "--threads of 0"),
        ({"ubatch": -5}, "--ubatch of -5"),
        ({"ram": 10 << 20}, "the model does not fit in 10.00 MiB"),
        ({"model": "/no/such/file.gguf"}, "does not exist"),
        ({"model": Path("/")}, "is a directory"),
        ({"adapter": "/no/such/file.gguf"}, "does not exist; name an adapter: a GGUF file, or the folder"),
        ({"trace": "/tmp/trace"}, "there is no routing to record"),
    ],
)
def test_what_cannot_be_opened_is_one_error(options: dict[str, Any], words: str) -> None:
    with pytest.raises(sixgig.SixgigError) as raised:
        sixgig.load(**options)
    assert words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "there is no message to answer"),
        ([{"role": "user"}], "message 1 has no role and content that are texts"),
        ([*chat("x"), "hello"], "message 2 has no role"),
        ([{"role": "user", "content": ["x"]}], "message 1 has no role"),
    ],
)
def test_messages_that_are_none_are_refused(model: sixgig.Model, messages: list[Any], words: str) -> None:
    with pytest.raises(sixgig.UsageError, match=words):
        model.chat(messages)


def test_impossible_ways_to_choose_are_refused(model: sixgig.Model) -> None:
    for options in ({"temperature": -1.0}, {"seed": -1}, {"max_tokens": 0}, {"top_p": 2.0}):
        with pytest.raises(sixgig.UsageError):
            model.generate(PROMPT, **options)
    with pytest.raises(TypeError):
        model.generate(PROMPT, warmth=1)  # type: ignore[call-arg]


def test_a_file_that_was_opened_may_be_loaded(tmp_path: Path) -> None:
    with sixgig.load(open_model(demo_path()), context=256) as model:
        assert "".join(model.generate(PROMPT, 2))


def test_a_program_that_closes_nothing_ends_in_order() -> None:
    code = (
        "import sixgig\nmodel = sixgig.load(context=256)\nhalf = model.generate('PEP', 100)\nnext(half)\n"
        "kept = model.converse(raw=True)\nprint('done')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_model_let_go_of_is_freed_at_once_and_an_answer_keeps_its_own() -> None:
    gc.collect()
    gc.disable()  # what waits for it would hold gigabytes beside the next model
    try:
        model = sixgig.load(context=128, threads=1)
        pieces = model.generate(PROMPT, 4, temperature=0)
        begun, opened = next(pieces), model._opened
        del model
        assert begun and "".join(pieces) and pieces.result.finish == "length"
        engine = weakref.ref(opened.engine)
        del opened, pieces
        assert engine() is None
    finally:
        gc.enable()
