"""`sixgig run` on files that think, ask for their own sampling, or are damaged; answers are scripted."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sixgig.cli.main import main
from sixgig.cli.terminal import Thinking
from sixgig.inference import Engine, SamplingOptions
from sixgig.jobs import model as job
from sixgig.modelfile import open_model
from tests.null.test_answers import FINAL, HARMONY, PLAIN, THOUGHT
from tests.null.test_prompts import PARTS, Scripted
from tests.tiny.lexicon import write

Capture = pytest.CaptureFixture[str]
ENDS = 4  # the token that ends a turn


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`says(*texts)`: what the model answers, turn by turn."""

    def script(*texts: str) -> None:
        class Script(Scripted):
            seed = 1

            def __init__(self, engine: Engine, options: SamplingOptions) -> None:
                tokens = list[int]()
                for text in texts:
                    tokens += [*engine.vocabulary.tokenize(text), ENDS]
                super().__init__(tokens[:-1], ENDS)

        monkeypatch.setattr(job, "Sampler", Script)

    return script


def ran(capsys: Capture, *arguments: str) -> tuple[str, str]:
    status = main(["run", *arguments, "--context", "512"])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out, captured.err


def test_thinking_is_beside_the_text_and_never_in_it(
    capsys: Capture, tmp_path: Path, says: Callable[..., None]
) -> None:
    path = str(write(tmp_path / "thinks.gguf", "bpe", HARMONY))
    says(THOUGHT + FINAL + "On the mat.")
    made = json.loads(ran(capsys, path, "-p", "Where?", "--json")[0])
    assert (made["text"], made["reasoning"]) == ("On the mat.", "the cat\n\nsat")
    out, err = ran(capsys, path, "-p", "Where?")
    assert out == "On the mat.\n"
    assert "the cat\n\nsat\n" in err and "<|" not in out + err


def test_a_chat_in_channels_has_a_second_turn(
    capsys: Capture, tmp_path: Path, says: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write(tmp_path / "thinks.gguf", "bpe", HARMONY))
    says(THOUGHT + FINAL + "On the mat.", THOUGHT + FINAL + "Still there.")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Where?\nAnd now?\n")))
    assert ran(capsys, path)[0] == "On the mat.\nStill there.\n"


def test_a_template_that_wants_content_parts_gets_them(
    capsys: Capture, tmp_path: Path, says: Callable[..., None]
) -> None:
    says("On the mat.")
    path = str(write(tmp_path / "parts.gguf", "bpe", PARTS))
    assert ran(capsys, path, "-p", "Where?")[0] == "On the mat.\n"


def test_a_template_that_writes_nothing_is_named(capsys: Capture, tmp_path: Path) -> None:
    path = str(write(tmp_path / "empty.gguf", "bpe", "{% if false %}x{% endif %} "))
    assert main(["run", path, "-p", "Where?"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: the model's chat template does not work; it writes nothing")


def test_thinking_is_dimmed_on_a_terminal_only(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal, shown in ((True, "\x1b[2mhm, \x1b[22m\n"), (False, "hm, \n")):
        monkeypatch.setattr("sixgig.cli.terminal.is_terminal", lambda stream, it=terminal: it)
        with Thinking(shown=True) as thinking:
            thinking("hm")
            thinking(", ")
            thinking.end()
        assert capsys.readouterr().err == shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-n", "3"], "the answer was cut after 3 tokens: --max-tokens allows no more"),
        ([], "the answer was cut: the context of 256 tokens is full; raise --context"),
        (["-n", "14"], None),
    ],
)
def test_an_answer_that_was_cut_says_so(
    capsys: Capture, tmp_path: Path, says: Callable[..., None], arguments: list[str], words: str | None
) -> None:
    says("On the mat." if words is None else "o" * 300)
    path = str(write(tmp_path / "plain.gguf", "bpe", PLAIN))
    assert main(["run", path, "-p", "Where?", "--context", "256", *arguments]) == 0
    err = capsys.readouterr().err
    assert (words or "") in err and ("was cut" in err) == (words is not None)


def test_the_files_sampling_is_taken_told_and_overruled(capsys: Capture, tmp_path: Path) -> None:
    fields = {"general.sampling.temp": 0.25, "general.sampling.top_k": 7, "general.sampling.mirostat": 9}
    path = str(write(tmp_path / "asks.gguf", "bpe", PLAIN, fields=fields))
    out, err = ran(capsys, path, "-p", "the", "-n", "2", "--json")
    made = json.loads(out)
    assert (made["temperature"], made["sampling"]["top_k"]) == (0.25, 7)
    assert made["sampling_from_file"] == ["top_k", "temperature"]
    assert "sampling as the model file asks: top_k 7, temperature 0.25" in err
    assert "general.sampling.mirostat of the model file cannot be obeyed: '9'" in err
    named = json.loads(ran(capsys, path, "-p", "the", "-n", "2", "--json", "--temperature", "0")[0])
    assert named["temperature"] == 0 and named["sampling_from_file"] == ["top_k"]


def test_logits_that_are_no_numbers_end_with_one_line(capsys: Capture, tmp_path: Path) -> None:
    path = write(tmp_path / "nan.gguf", "bpe", PLAIN)
    head = next(tensor for tensor in open_model(path).tensors if tensor.name == "output.weight")
    np.memmap(path, np.float32, "r+", head.offset, (head.size_bytes // 4,))[:] = np.nan
    assert main(["run", str(path), "-p", "the", "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("error: the model's logits are no numbers; nan after ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "-p", "the", "-n", "1", "--context", "1024"],
        ["bench", "--prompt-tokens", "600", "--tokens", "2"],
        ["score", "--context", "600"],
    ],
)
def test_a_context_beyond_training_is_said(
    capsys: Capture, tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path, text = write(tmp_path / "short.gguf", "bpe", PLAIN, context=512), tmp_path / "text.txt"
    text.write_text("the cat sat. " * 120)
    more = ["--text", str(text)] if arguments[0] == "score" else []
    assert main([arguments[0], str(path), *arguments[1:], *more]) == 0
    assert "more than the 512 the model was trained for" in capsys.readouterr().err


def test_a_context_as_trained_says_nothing(capsys: Capture, tmp_path: Path) -> None:
    path = str(write(tmp_path / "short.gguf", "bpe", PLAIN, context=512))
    assert "trained for" not in ran(capsys, path, "-p", "the", "-n", "1")[1]


def test_a_bench_begins_with_the_token_the_model_wants(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As llama-bench does."""
    fed: list[Any] = []
    prefill = Engine.prefill
    monkeypatch.setattr(
        Engine, "prefill", lambda self, prompt, *more: fed.append(prompt) or prefill(self, prompt, *more)
    )
    path = write(tmp_path / "begins.gguf", "bpe", PLAIN, adds_bos=True)
    assert main(["bench", str(path), "--prompt-tokens", "20", "--tokens", "2"]) == 0
    assert fed[-1][0] == 1 and len(fed[-1]) == 20
