"""What is piped in: beside a prompt, instead of one, line by line; closed, endless, and no text."""

import io
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sixgig.cli.main import main
from sixgig.inference import Engine
from tests.cli.terminal import COMMAND, PATIENCE_S, ROOT, start
from tests.null.test_answers import PLAIN
from tests.tiny.lexicon import write

Capture = pytest.CaptureFixture[str]
LATIN_1 = "the cat\ncaf\u00e9\n".encode("latin-1")


@pytest.fixture
def asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> Callable[..., tuple[str, int, str]]:
    """`asked(piped, *arguments)`: the prompt that the model got, the status, stderr."""
    path = str(write(tmp_path / "plain.gguf", "bpe", PLAIN))
    fed = [""]
    prefill = Engine.prefill

    def noting(self: Engine, prompt: list[int], *more: object) -> int:
        fed.append(self.vocabulary.text(prompt))
        return prefill(self, prompt, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "prefill", noting)

    def run(piped: bytes, *arguments: str) -> tuple[str, int, str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(piped), encoding="utf-8"))
        status = main(["run", path, "-n", "1", "--context", "256", *arguments])
        return fed[-1], status, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("piped", "arguments", "prompt"),
    [
        (b"the cat\nsat\n", ["-p", "Where?"], "the cat\nsat\n\nWhere?"),
        (b"", ["-p", "Where?"], "Where?"),
        (b" \n", ["-p", "Where?"], "Where?"),
        (b"the cat\nsat\n", ["-p", "-"], "the cat\nsat"),
    ],
)
def test_what_is_piped_in_stands_before_the_prompt(asked, piped, arguments, prompt):
    got, status, _ = asked(piped, "--raw", *arguments)
    assert (got.strip(), status) == (prompt, 0)


@pytest.mark.parametrize("arguments", [["-p", "-"], ["-p", "Where?"], []])
def test_bytes_that_are_no_text_are_named(asked, arguments):
    _, status, errors = asked(LATIN_1, *arguments)
    last = errors.splitlines()[-1]
    where, at = ("stdin (line 2)", 3) if not arguments else ("stdin", 11)
    assert status == 2 and last.startswith(f"error: {where} is not UTF-8 text; 0xe9 at byte {at}; ")


def test_an_argument_that_is_no_text_is_named(asked):
    _, status, errors = asked(b"", "-p", "caf\udce9")
    assert status == 2 and "error: the prompt is not utf-8 text; 0xe9 at character 3" in errors


@pytest.mark.parametrize("arguments", [["-p", "-"], ["-p", "Where?"], []])
def test_a_text_longer_than_any_context_is_refused_before_it_fills_memory(asked, arguments, monkeypatch):
    monkeypatch.setattr("sixgig.cli.stdin.MOST_BYTES", 1000)
    _, status, errors = asked(b"x" * 1001, *arguments)
    assert status == 2 and "longer than any context" in errors.splitlines()[-1]


@pytest.mark.parametrize(("piped", "told"), [(b"", True), (b"\n", True), (b"the cat", False)])
def test_an_empty_pipe_beside_a_prompt_is_told(asked, piped, told):
    _, status, errors = asked(piped, "-p", "Any bugs here?", "-q")
    assert (status, "nothing was piped in: the prompt is answered alone; " in errors) == (0, told)


@pytest.mark.parametrize(
    ("given", "told"), [("true |", True), ("< /dev/null", False), ("<&-", False), ("< empty", True)]
)
def test_pipes_and_files_are_told_to_be_empty_and_devices_are_not(tmp_path, given, told):
    (tmp_path / "empty").touch()
    call = "import sys; from sixgig.cli.terminal import *; from sixgig.cli.stdin import read_beside"
    program = f"{COMMAND[0]} -c '{call}; open_closed_streams(); print(read_beside(\"Where?\"))'"
    line = f"{given} {program}" if "|" in given else f"{program} {given}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.stdout, "nothing was piped in" in done.stderr) == ("Where?\n", told)


def test_an_empty_pipe_is_a_chat_in_which_nothing_was_asked(asked):
    _, status, errors = asked(b"")
    assert status == 0 and "nothing was asked; unpaged" in errors


@pytest.mark.parametrize(("how", "words"), [("-p -", "there is no prompt"), ("", "there is nobody to ")])
def test_a_closed_stdin_is_said(how, words):
    done = _shell(f"run {how} <&-")
    assert done.returncode == 2 and f"error: {words}" in done.stderr
    assert "; stdin is closed; " in done.stderr and done.stderr.count("\n") == 1


def test_beside_a_prompt_a_closed_stdin_is_none():
    assert _shell("run -p 'PEP: 1' -n 1 <&-").returncode == 0


def test_a_pipe_that_never_ends_is_waited_for_aloud():
    reader, writer = os.pipe()
    with start("run", "-p", "PEP: 1", stdin=reader, stderr=subprocess.PIPE) as process:
        os.close(reader)
        assert process.stderr
        line = process.stderr.readline().decode()
        assert line.startswith("waiting: stdin goes before the prompt and has not ended; < /dev/null")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
    os.close(writer)


@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", ">/dev/full", "2>/dev/full", "| true"])
@pytest.mark.parametrize("command", ["run --help", "plan --machine cpu-box-2c-24g --json"])
def test_streams_that_lead_nowhere_are_no_bug(command, streams):
    done = _shell(f"{command} {streams}")
    assert not any(word in done.stderr for word in ("a bug in", "Traceback", "Exception ignored"))
    full = streams == ">/dev/full"
    assert done.returncode == (1 if full else 0) or streams == "| true"
    assert ("No space left on device" in done.stderr) == full


def test_words_that_nobody_gets_end_no_run():
    done = _shell("run -p 'PEP: 1' -n 2 --temperature 0 2>/dev/full")
    assert (done.returncode, bool(done.stdout.strip())) == (0, True)


def test_a_file_opened_later_never_gets_the_number_of_a_closed_stream(tmp_path):
    """Else what a library writes to stderr would land in it."""
    code = "import os; from sixgig.cli.main import main; main(['--version']); print(os.open('/', 0), end='')"
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec {COMMAND[0]} -c "{code}" <&- 2>&-'], capture_output=True, text=True, cwd=ROOT
    )
    assert int(done.stdout.split()[-1]) > 2


def _shell(arguments: str) -> subprocess.CompletedProcess[str]:
    command = " ".join([*COMMAND, arguments])
    return subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
    )
