"""`sixgig tune` of half the demo model on conversations that it can learn in a few steps."""

import atexit
import json
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from sixgig.cli.main import main
from sixgig.finetune.state import load_state
from tests.serve.ollama_server import rewritten

Capture = pytest.CaptureFixture[str]
WORDS = ("the", "train", "was", "a", "little", "late", "and", "we", "saw", "river", "in", "rain")
N_LAYERS = 4  # as many as there are kinds: three of Gated DeltaNet, one of attention
HALVED = {
    "qwen35moe.block_count": N_LAYERS,
    "qwen35moe.attention.recurrent_layers": [True, True, True, False],
}
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


@cache
def half_demo() -> Path:
    """The first layers of the demo model."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return rewritten(folder / "half.gguf", HALVED, N_LAYERS)


def command_line(data: Path, out: Path, *more: str) -> list[str]:
    return ["tune", str(half_demo()), str(data), "-o", str(out), *SMALL, *more]


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
