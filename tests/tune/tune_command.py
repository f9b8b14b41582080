"""`sixgig tune` of the demo model on conversations that it can learn in a few steps."""

import json
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from sixgig.cli.main import main
from sixgig.cli.opening import demo_path
from sixgig.finetune.state import load_state

Capture = pytest.CaptureFixture[str]
WORDS = ("the", "train", "was", "a", "little", "late", "and", "we", "saw", "river", "in", "rain")
SMALL = ("--context", "64", "--batch", "128", "--rank", "4", "--threads", "2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations with answers that a model can learn in a few steps."""
    path = tmp_path_factory.mktemp("data") / "chats.jsonl"
    lines = [
        {
            "messages": [
                {"role": "user", "content": f"Say {WORDS[n % 12]} {n}."},
                {"role": "assistant", "content": f"{WORDS[n % 12]} {n} {WORDS[(n + 5) % 12]}, as you wish."},
            ]
        }
        for n in range(60)
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def command_line(data: Path, out: Path, *more: str) -> list[str]:
    return ["tune", str(demo_path()), str(data), "-o", str(out), *SMALL, *more]


def tuned(capsys: Capture, data: Path, out: Path, *more: str) -> dict[str, Any]:
    assert main(command_line(data, out, "--json", *more)) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def digest(out: Path) -> str:
    return sha256((out / "adapter.gguf").read_bytes()).hexdigest()


def start(data: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sixgig.cli.main", *command_line(data, out, *more)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for_step(out: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    path = out / "state.safetensors"
    while process.poll() is None:
        if path.exists() and load_state(path).progress.step >= step:
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate()[1].decode())
