"""The README's commands work: each `$ sixgig ...` in a console block, with the demo model for MODEL."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sixgig.finetune.adapter import Adapter, targets
from sixgig.jobs.opening import demo_path
from sixgig.modelfile import open_model
from sixgig.modelfile.lora import write_lora

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
_MODEL = re.compile(r"(?<!--adapter\s)(?<=\s)(hf:\S+|\S+\.gguf)")
CHAT = '{"messages": [{"role": "user", "content": "%d?"}, {"role": "assistant", "content": "%d."}]}\n'


def commands() -> Iterator[str]:
    text = README.read_text(encoding="utf-8") if README.exists() else ""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ sixgig "):
                yield line.removeprefix("$ ")


def on_the_demo_model(command: str) -> str:
    """The same command, cheap: any model is the demo model, which would not stop by itself."""
    command = _MODEL.sub(str(demo_path()), command)
    command = re.sub(r"^sixgig tune\b", "sixgig tune --steps 1 --context 64 --batch 64", command)
    return re.sub(r"^sixgig run\b(?!.*\s(-n|--max-tokens)\b)", "sixgig run -n 8", command)


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = f'sixgig() {{ "{sys.executable}" -m sixgig "$@"; }}\n{on_the_demo_model(command)}'
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
    )


def write_adapter(path: Path) -> None:
    model = open_model(demo_path())
    path.parent.mkdir()
    write_lora(path, Adapter(targets(model), 2, 4.0, seed=0).to_lora(model.architecture), "tuned")


SERVERS = [command for command in commands() if command.startswith("sixgig serve ")]
TAKES_LONG = (" shrink ", "sixgig serve ")


@pytest.mark.parametrize("command", [c for c in commands() if not any(word in c for word in TAKES_LONG)])
def test_commands_of_the_readme_work(command: str, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("This PEP describes a change to the language. " * 200)
    (tmp_path / "chats.jsonl").write_text("".join(CHAT % (n, n) for n in range(9)))
    if "--adapter tuned/" in command:
        write_adapter(tmp_path / "tuned" / "adapter.gguf")
    result = run(command, tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("command", [command for command in commands() if " shrink " in command])
def test_shrinking_as_in_the_readme_is_understood(command: str, tmp_path: Path) -> None:
    """A whole run takes minutes (test_cli_shrink.py has small ones): this ends where its text is missing."""
    result = run(command.replace("-o small.gguf", "-o ./small"), tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("error: cannot read mixed.txt"), result.stderr


def test_commands_are_made_cheap_but_not_changed() -> None:
    path = str(demo_path())
    assert on_the_demo_model("sixgig run big.gguf --ram 6G") == f"sixgig run -n 8 {path} --ram 6G"
    assert on_the_demo_model("sixgig run hf:a/b:Q4 -n 5") == f"sixgig run {path} -n 5"
    assert on_the_demo_model("sixgig demo") == "sixgig demo"


@pytest.mark.parametrize("command", SERVERS)
def test_servers_of_the_readme_start_answer_and_end_when_told(command: str, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(demo_path().parent)
    (tmp_path / "serve.toml").write_text(f'[models.demo]\npath = "{demo_path()}"\n')
    words = shlex.split(on_the_demo_model(command).replace("~/models", "models"), comments=True)[1:]
    log = tmp_path / "log"
    with log.open("w") as stderr:
        server = subprocess.Popen(
            [sys.executable, "-m", "sixgig", *words, "--port", "0"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=stderr,
        )
    try:
        while not (address := re.search(r"http://[\d.]+:\d+", log.read_text())):
            assert server.poll() is None, log.read_text()
            time.sleep(0.05)
        models = httpx.get(f"{address.group()}/v1/models", timeout=60).json()
        assert models["data"]
    finally:
        server.terminate()
    assert server.wait(60) == 0
