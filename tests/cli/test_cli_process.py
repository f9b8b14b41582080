"""`sixgig` as a process: signals, pipes and terminals."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import PATIENCE_S, ROOT, Terminal, start

ENDLESS = ["run", "--prompt", "PEP: 1", "-n", "4000"]


def test_a_reader_that_leaves_ends_the_run_quietly() -> None:
    with start(*ENDLESS, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        assert process.stdout.read(1)
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert process.returncode != 0
    assert "Traceback" not in errors and "error" not in errors.lower() and "Exception" not in errors


def test_ctrl_c_ends_a_one_shot_run_with_130_and_no_traceback() -> None:
    with start(*ENDLESS, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read().decode()
    assert process.returncode == 130
    assert "Traceback" not in errors and "error" not in errors.lower()


def test_a_full_disk_under_stdout_is_an_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with open("/dev/full", "wb") as full, start("--version", stdout=full, stderr=subprocess.PIPE) as process:
        assert process.stderr
        errors = process.stderr.read().decode()
    assert process.returncode == 1 and errors.startswith("error: ") and errors.count("\n") == 1


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    code = "import sys; from sixgig.cli.main import main; main(['--help']); print(sorted(sys.modules))"
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for heavy in ("'numpy'", "'jinja2'", "'xllamacpp'", "'huggingface_hub'", "'rich.progress'"):
        assert heavy not in output


def test_piped_lines_are_a_chat() -> None:
    with start(
        "run",
        "-n",
        "4",
        "--context",
        "256",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        out, errors = process.communicate(b"PEP: 1\n\nTitle: \n/exit\nnever asked\n", PATIENCE_S)
    assert process.returncode == 0
    assert b"8 tokens at" in errors and b"> " not in out


@pytest.fixture
def chat() -> Iterator[Terminal]:
    terminal = Terminal("run", "-n", "3000", "--always-page", "--ram", "1G")
    yield terminal
    terminal.close()


def test_ctrl_c_stops_the_answer_and_the_chat_goes_on(chat: Terminal) -> None:
    chat.wait_for("\n> ")
    chat.type("PEP: 1\n")
    chat.wait_for("PEP: 1\r\n")
    chat.wait_for("\n")
    chat.process.send_signal(signal.SIGINT)
    chat.wait_for("(stopped)")
    chat.wait_for("\n> ")
    time.sleep(0.5)  # readline misses a signal between showing its prompt and waiting for keys
    chat.process.send_signal(signal.SIGINT)
    chat.wait_for("(Ctrl-D or /exit ends)")
    chat.type("/exit\n")
    chat.wait_for("peak memory")
    chat.wait_for("budget 1.00 GiB")
    assert chat.process.wait(PATIENCE_S) == 0
