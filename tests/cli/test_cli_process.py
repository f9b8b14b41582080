"""`sixgig` as a process: signals, pipes and terminals."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "sixgig"]
ENDLESS = ["run", "--prompt", "PEP: 1", "-n", "4000"]
PATIENCE_S = 60.0


def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Ctrl-C works as from a terminal even where the tests' own parent ignores it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "dumb", "COLUMNS": "80"}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **options,
    )


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


class Terminal:
    """A person's end of a terminal in which the command runs."""

    def __init__(self, *arguments: str) -> None:
        self._person, program = pty.openpty()
        self.process = start(
            *arguments,
            stdin=program,
            stdout=program,
            stderr=program,
            start_new_session=True,
        )
        os.close(program)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._person, text.encode())

    def wait_for(self, words: str) -> None:
        """Until `words` appear after what was waited for last."""
        deadline = time.monotonic() + PATIENCE_S
        while words not in self.seen:
            assert time.monotonic() < deadline, f"no {words!r} in {self.seen!r}"
            self.seen += self.read()
        self.seen = self.seen.partition(words)[2]

    def read(self) -> str:
        if not select.select([self._person], [], [], 1.0)[0]:
            return ""
        try:
            return os.read(self._person, 4096).decode("utf-8", "replace")
        except OSError:  # how Linux says that the other end is closed
            pytest.fail(f"the program ended after {self.seen!r}")

    def close(self) -> None:
        os.close(self._person)
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


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
