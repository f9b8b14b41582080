"""What goes to stdout and stderr: JSON and text in any locale, and what --quiet and --verbose change."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sixgig.cli import app as commands
from sixgig.cli.main import main
from sixgig.jobs import opening
from sixgig.jobs.opening import demo_path
from sixgig.planning import Allowance

ROOT = Path(__file__).parents[2]
NAME = "modèle 模型 €.gguf"
PLAN = ["plan", "--machine", "cpu-box-2c-24g"]
RUN = ["run", "-p", "PEP: 1", "-n", "4", "--context", "64", "--ubatch", "8"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(demo_path(), tmp_path / NAME))


def written(monkeypatch: pytest.MonkeyPatch, encoding: str, *arguments: str) -> bytes:
    """What a command puts into a pipe, where Python believes that pipes are of `encoding`."""
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding) as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        assert main(list(arguments)) == 0
        stream.flush()
        return raw.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "utf-16"])
@pytest.mark.parametrize("named", [False, True])
def test_json_is_utf8_or_ascii_whatever_the_locale(
    model: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, named: bool
) -> None:
    if named:
        monkeypatch.setenv("PYTHONIOENCODING", encoding)
    else:
        monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    raw = written(monkeypatch, encoding, *PLAN, str(model), "--json")
    text = raw.decode("utf-16" if named and encoding == "utf-16" else "utf-8")
    assert json.loads(text)["recommended"]["files"] == [NAME]


@pytest.mark.parametrize(
    ("encoding", "named", "shown"),
    [
        ("latin-1", False, NAME.encode()),
        ("ascii", False, NAME.encode()),
        ("latin-1", True, b"mod\xe8le \\u6a21\\u578b \\u20ac.gguf"),
        ("ascii", True, b"mod\\xe8le \\u6a21\\u578b \\u20ac.gguf"),
    ],
)
def test_text_is_not_lost_whatever_the_locale(
    model: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, named: bool, shown: bytes
) -> None:
    if named:
        monkeypatch.setenv("PYTHONIOENCODING", encoding)
    else:
        monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    assert shown in written(monkeypatch, encoding, *PLAN, str(model))


def test_a_name_that_is_no_text_stays_in_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.gguf")
    try:
        shutil.copy(demo_path(), path)
    except OSError:
        pytest.skip("this file system takes no such name")
    document = json.loads(written(monkeypatch, "utf-8", *PLAN, path, "--json"))
    assert document["recommended"]["files"] == [Path(path).name]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_process_in_an_ascii_locale_writes_utf8_into_a_pipe(model: Path, form: list[str]) -> None:
    """Not even the command line can be decoded there."""
    environment = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    environment |= {"PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONIOENCODING", None)
    command = [sys.executable, "-m", "sixgig", *PLAN, *form, str(model)]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert NAME.encode() in done.stdout


def said(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert main(list(arguments)) == status
    return capsys.readouterr().err


def test_one_line_of_memory_stands_before_an_answer_and_all_with_verbose(
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual = said(capsys, *RUN, "--ram", "1G").partition("the answer was cut")[0].splitlines()
    (line,) = [line for line in usual if "iB" in line]
    assert "MiB predicted peak" in line and "1.00 GiB budget" in line
    assert len(usual) == 3, "and two that say what the demo model is"
    verbose = said(capsys, *RUN, "--ram", "1G", "--verbose")
    for words in ("  process  ", "  KV cache  ", "  compute buffers  ", "predicted peak"):
        assert words in verbose and ("predicted" in words or words not in "\n".join(usual))


def test_quiet_leaves_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, *RUN, "--quiet") == "the answer was cut after 4 tokens: --max-tokens allows no more\n"


def test_quiet_leaves_what_the_system_allows_less_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = opening.allowed

    def less(asked_bytes: int | None) -> Allowance:
        found = honest(asked_bytes)
        return type(found)(**{**vars(found), "remark": "--ram of 1G is more than this group may use"})

    monkeypatch.setattr(opening, "allowed", less)
    assert "more than this group may use" in said(capsys, *RUN, "-q")


@pytest.mark.parametrize(
    "words",
    [
        "bench --tokens 4 --prompt-tokens 8 -q",
        "score --context 256 -q --text TEXT",
        "plan --machine cpu-box-2c-24g -q",
    ],
)
def test_quiet_is_silent_on_stderr_where_all_is_well(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("This PEP describes a change to the language. " * 800)
    arguments = [str(tmp_path / "text") if word == "TEXT" else word for word in words.split()]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == "" and captured.out


def test_every_verb_takes_quiet_and_errors_stay(capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands.app.registered_commands:
        error = said(capsys, str(command.name), "--quiet", "--no-such-option", status=2)
        assert "--no-such-option" in error, command.name
    assert said(capsys, "run", "-q", "no.gguf", "-p", "x", status=1).startswith(
        "error: no.gguf does not exist"
    )


def test_quiet_and_verbose_exclude_each_other_and_neither_outlives_its_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for both in (["-q", "-v"], ["-v", "-q"]):
        assert "exclude each other" in said(capsys, *RUN, *both, status=2)
    assert "predicted peak" in said(capsys, *RUN)
