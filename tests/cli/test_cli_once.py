"""Options given twice: what would be dropped in silence is refused, what is overridden is said."""

from pathlib import Path

import pytest

from sixgig.cli.app import app
from sixgig.cli.main import main


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--adapter", "a.gguf", "--adapter", "b.gguf", "-p", "x"],
        ["run", "-p", "one", "--prompt", "two"],
        ["score", "--adapter=a.gguf", "--adapter=b.gguf", "--text", "t.txt"],
        ["score", "--text", "a.txt", "--text", "b.txt"],
        ["shrink", "model.gguf", "-o", "a.gguf", "--text", "a.txt", "--text", "b.txt", "--size", "1G"],
        ["tune", "m.gguf", "d.jsonl", "-o", "a", "-o", "b"],
        ["tune", "m.gguf", "d.jsonl", "-o", "a", "--targets", "attention", "--targets", "dense"],
        ["serve", "--config", "a.toml", "--config", "b.toml"],
    ],
)
def test_what_is_named_twice_is_refused_by_name(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "given 2 times" in said and said.count("\n") == 1


def test_a_number_given_twice_counts_last_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "-n", "9", "-p", "x", "--temperature", "0", "-n", "1"]) == 0
    assert "--max-tokens is given 2 times: the last one counts" in capsys.readouterr().err


def test_every_verb_is_watched() -> None:
    from sixgig.cli.once import OnceCommand

    assert app.registered_commands and all(verb.cls is OnceCommand for verb in app.registered_commands)
