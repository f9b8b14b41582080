"""Options, verbs, models and questions as other programs take them: what is meant here is told."""

import pytest

from sixgig.cli.app import app
from sixgig.cli.main import main

Capture = pytest.CaptureFixture[str]


def told(capsys: Capture, *arguments: str) -> tuple[int, str]:
    status = main(list(arguments))
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return status, captured.err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("verb", "typed", "meant"),
    [
        ("tune", "--lr", "--learning-rate"),
        ("tune", "--learning_rate", "--learning-rate"),
        ("tune", "--max_steps", "--steps"),
        ("tune", "--lora-r", "--rank"),
        ("tune", "-b", "--batch"),
        ("run", "-b", "--ubatch"),
        ("run", "--temp", "--temperature"),
        ("run", "--ctx", "--context"),
        ("run", "-c", "--context"),
        ("serve", "--n_ctx", "--context"),
        ("run", "--n-predict", "--max-tokens"),
        ("run", "--n-gpu-layers", "--vram"),
    ],
)
def test_an_option_of_another_program_is_told_as_it_is_here(
    capsys: Capture, verb: str, typed: str, meant: str
) -> None:
    expected = f"no such option: {typed}; did you mean {meant}? see sixgig {verb} --help"
    assert told(capsys, verb, typed, "1") == (2, expected)


def test_options_that_are_not_there_are_said_not_to_be(capsys: Capture) -> None:
    words = "there is no option for a system prompt yet: write it at the beginning of the question"
    for typed in ("--system", "--system_prompt"):
        expected = f"no such option: {typed}; {words}; see sixgig run --help"
        assert told(capsys, "run", typed, "Be brief.") == (2, expected)
    assert "; name the model without an option; " in told(capsys, "plan", "-m", "x.gguf")[1]
    assert told(capsys, "run", "--zzz") == (2, "no such option: --zzz; see sixgig run --help")
    assert "system prompt" not in told(capsys, "tune", "--system")[1]


def test_verbs_of_other_programs_are_told_as_they_are_here(capsys: Capture) -> None:
    expected = "no such command 'chat'; did you mean sixgig run? see sixgig --help"
    assert told(capsys, "chat") == (2, expected)
    assert "Did you mean 'tune'? see" in told(capsys, "finetune")[1]  # typer's own, by how it is spelt


def test_only_options_and_verbs_that_are_there_are_told() -> None:
    import typer.main

    from sixgig.cli.aliases import _NAMES, _VERBS

    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    options = {option for verb in verbs.values() for each in verb.params for option in each.opts}
    assert _NAMES.keys() <= options and _VERBS.keys() <= verbs.keys()
    assert not [name for names in _VERBS.values() for name in names if name in verbs]


@pytest.mark.parametrize("question", [["What is 2+2?"], ["-p", "What", "is", "2+2?"]])
def test_a_question_without_its_option_or_its_quotes_is_told_where_to_go(
    capsys: Capture, question: list[str]
) -> None:
    status, words = told(capsys, "run", "m.gguf", *question)
    assert status == 2 and words.startswith("got unexpected extra argument")
    assert '; give the question with -p, as one "text in quotes"; see sixgig run --help' in words


@pytest.mark.parametrize("verb", ["run", "bench", "score", "serve"])
@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("Qwen/Qwen3-GGUF", "Qwen/Qwen3-GGUF does not exist; did you mean hf:Qwen/Qwen3-GGUF?"),
        (
            "https://huggingface.co/Qwen/Qwen3-GGUF",
            "https://huggingface.co/Qwen/Qwen3-GGUF is the address of a page; name hf:Qwen/Qwen3-GGUF",
        ),
    ],
)
def test_a_model_as_the_hub_shows_it_is_told_as_it_is_named_here(
    capsys: Capture, verb: str, named: str, words: str
) -> None:
    arguments = ["--text", "text.txt"] if verb == "score" else []
    assert told(capsys, verb, named, *arguments)[1] == words
