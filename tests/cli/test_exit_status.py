"""One rule for all verbs: 2 where something else must be typed, 1 where the world failed, 130 interrupted."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sixgig.cli import app as commands
from sixgig.cli.main import main
from sixgig.errors import UsageError
from sixgig.jobs.opening import demo_path

DEMO = str(demo_path())
DONE, FAILED, MISUSED = 0, 1, 2
VERBS = [command.name or "" for command in commands.app.registered_commands]
# Words of the command line; {tmp} is a folder with a text, a file of zeros and one that is no UTF-8.
CASES = [
    (DONE, "--version"),
    (DONE, "--help"),
    (MISUSED, "nonsense"),
    (MISUSED, "--nonsense"),
    (FAILED, "run {tmp}/none.gguf -p x"),
    (FAILED, "run {tmp} -p x"),
    (FAILED, "run {tmp}/zeros -p x"),
    (FAILED, "run -p x --ram 10M"),
    (FAILED, "run -p x --adapter {tmp}/none.gguf"),
    (FAILED, "run -p x --always-page --trace {tmp}/no/trace"),
    (MISUSED, "run hf:nonsense -p x"),
    (MISUSED, "run -p x --ram lots"),
    (MISUSED, "run -p x --context 0"),
    (MISUSED, "run -p x --seed -1"),
    (MISUSED, "run -p x --temperature nan"),
    (MISUSED, "run -p x -n 0"),
    (MISUSED, "run --json"),
    (MISUSED, "run --raw"),
    (MISUSED, "run a.gguf b.gguf"),
    (MISUSED, "run -p x --trace {tmp}/trace"),
    (FAILED, "bench {tmp}/none.gguf"),
    (FAILED, "bench --text {tmp}/none.txt"),
    (MISUSED, "bench --text {tmp}/latin.txt"),
    (MISUSED, "bench --tokens 0"),
    (MISUSED, "bench --policy best"),
    (FAILED, "plan {tmp}/none.gguf --machine cpu-box-2c-24g"),
    (FAILED, "plan {tmp}/folder --machine cpu-box-2c-24g"),
    (FAILED, "plan --machine no-such-machine"),
    (FAILED, "plan --ram 1M --machine cpu-box-2c-24g"),
    (FAILED, "plan --trace {tmp}/none.trace --machine cpu-box-2c-24g"),
    (MISUSED, "plan --ram lots --machine cpu-box-2c-24g"),
    (MISUSED, "plan --context 0 --machine cpu-box-2c-24g"),
    (MISUSED, "plan --task cook"),
    (MISUSED, "plan --vram 4G --machine raspberry-pi-5-16g"),
    (FAILED, "score {tmp}/none.gguf --text {tmp}/text.txt"),
    (FAILED, "score --text {tmp}/none.txt"),
    (MISUSED, "score --text {tmp}/latin.txt"),
    (MISUSED, "score"),
    (MISUSED, "score --text {tmp}/text.txt --windows 0"),
    (FAILED, "shrink {tmp}/none.gguf -o {tmp}/o.gguf --size 1M --text {tmp}/text.txt"),
    (FAILED, "shrink {demo} -o {tmp}/o.gguf --size 1M --text {tmp}/none.txt"),
    (MISUSED, "shrink {demo} -o {tmp}/o.gguf --text {tmp}/text.txt"),
    (MISUSED, "shrink {demo} -o {tmp}/no/o.gguf --size 1M --text {tmp}/text.txt"),
    (MISUSED, "shrink {demo} --size 1M --text {tmp}/text.txt"),
    (MISUSED, "shrink {demo} -o {tmp}/o.gguf --size much --text {tmp}/text.txt"),
    (FAILED, "tune {tmp}/none.gguf {tmp}/text.txt -o {tmp}/out"),
    (MISUSED, "tune {demo} {tmp}/text.txt -o {tmp}/out --rank 0"),
    (MISUSED, "tune {demo} {tmp}/text.txt -o {tmp}/out --targets wheels"),
    (MISUSED, "tune {demo} {tmp}/text.txt -o {tmp}/out --resume"),
    (MISUSED, "tune {demo} {tmp}/text.txt"),
    (FAILED, "serve {tmp}/none.gguf"),
    (FAILED, "serve {tmp}/folder"),
    (FAILED, "serve --config {tmp}/none.toml"),
    (MISUSED, "serve --config {tmp}/text.txt"),
    (MISUSED, "serve --port 99999"),
    (MISUSED, "serve --host 0.0.0.0"),
    (MISUSED, "serve --keep-alive soon"),
    (MISUSED, "serve --new-key a --print-vllm"),
    (FAILED, "doctor --disk {tmp}/none"),
    (MISUSED, "doctor --again twice"),
    (FAILED, "ledger --file {tmp}/none.sqlite"),
    (FAILED, "ledger --file {tmp}/zeros"),
    (MISUSED, "ledger --csv --json"),
    (MISUSED, "ledger --since 2026-02-01 --until 2026-01-01"),
    (MISUSED, "ledger --since yesterday-ish"),
    (MISUSED, "demo now"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text("\n\n".join(f"PEP {n} describes change {n * n}." for n in range(2000)))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 200)
    (tmp_path / "zeros").write_bytes(bytes(4096))
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(("status", "words"), CASES, ids=[words for _, words in CASES])
def test_the_exit_status_tells_a_wrong_command_from_a_failure(
    status: int, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(tmp=folder, demo=DEMO) for word in words.split()]) == status
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == (status != DONE), errors


def test_every_verb_is_in_the_table_with_either_failure() -> None:
    told = {(words.split()[0], status) for status, words in CASES}
    for verb in VERBS:
        assert (verb, MISUSED) in told and ((verb, FAILED) in told or verb == "demo"), verb


def test_what_the_system_refused_may_work_another_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for cause, status in ((OSError(28, "full"), FAILED), (ImportError("gone"), FAILED), (None, MISUSED)):

        def refuse(*_: object, cause: Exception | None = cause, **__: object) -> None:
            raise UsageError("no") from cause

        monkeypatch.setattr("sixgig.cli.app.app", refuse)
        assert main([]) == status and capsys.readouterr().err == "error: no\n"


def test_the_rule_is_told_by_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for line in ("0: done", "1: it could not be done", "2: it was asked wrongly", "130: interrupted"):
        assert line in out


def test_a_port_that_is_taken_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == FAILED
    assert "cannot listen on 127.0.0.1 port" in capsys.readouterr().err


def test_an_interrupted_verb_ends_with_130() -> None:
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); import sixgig.__main__"
    )
    code += "; sys.exit(__import__('sixgig.cli.main', fromlist=['main']).main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, *["run", "-p", "PEP", "-n", "4000"]],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        while b"predicted peak" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130 and b"Traceback" not in rest and b"error" not in rest
