"""Real models, as people have them: the likeliest text is the engine's own server's, run and served.

SmolLM2 always; the others where they are asked for: scripts/test real --all-models.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from bench.fixtures import DEFAULT, FIXTURES
from sixgig.inference.serving import CHECKPOINTS
from tests.real import engine_server
from tests.real.conftest import fetched
from tests.real.engine_server import LONGEST, PATIENCE_S
from tests.serve.served import sixgig_serve

pytestmark = pytest.mark.timeout(2 * PATIENCE_S)
CONTEXT = 1024  # as the oracle's
QUESTIONS = ("Who wrote Hamlet?", "Write a Python function that adds two numbers.", "Why is the sky blue?")
TEXTS = (
    "The capital of France is",
    "def fibonacci(n):\n    ",
    "Once upon a time there was a small village at the foot of a mountain. " * 8 + "Every morning",
)


@dataclass(frozen=True)
class Compared:
    """asked: conversations of a question each, or texts of a model that does not chat."""

    model: Path
    asked: tuple[str, ...]
    chats: bool

    def theirs(self, checkpoints: int = 0) -> list[tuple[str, str]]:
        """What was asked, with what the engine's server says to it."""
        wanted = [[{"role": "user", "content": one}] for one in self.asked] if self.chats else self.asked
        found = engine_server.answers(self.model, wanted, checkpoints=checkpoints)
        assert all(found)
        return list(zip(self.asked, found, strict=True))


@pytest.fixture(scope="module", params=FIXTURES)
def compared(request: pytest.FixtureRequest) -> Compared:
    name = request.param
    if name != DEFAULT and not request.config.getoption("--all-models"):
        pytest.skip(f"{name} is fetched with --all-models")
    chats = name != "gemma3-270m"  # a base model: it has no chat template
    return Compared(fetched(name), QUESTIONS if chats else TEXTS, chats)


def test_run_answers_as_the_engines_own_server(compared: Compared) -> None:
    for text, theirs in compared.theirs():
        command = [sys.executable, "-m", "sixgig", "run", str(compared.model), "-p", text, "--json"]
        command += ["--temperature", "0", "-n", str(LONGEST), "--context", str(CONTEXT), "--threads", "1"]
        command += [] if compared.chats else ["--raw"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["text"] == theirs


def test_serve_answers_as_the_engines_own_server(compared: Compared, tmp_path: Path) -> None:
    configuration = f"""
        [models.it]
        path = {json.dumps(str(compared.model))}
        context = {CONTEXT}
        parallel = 1
    """
    with sixgig_serve(tmp_path, configuration) as served:
        for text, theirs in compared.theirs(CHECKPOINTS):
            common = {"model": "it", "temperature": 0, "max_tokens": LONGEST}
            if compared.chats:
                body = {**common, "messages": [{"role": "user", "content": text}]}
                (choice,) = post(f"{served.url}/v1/chat/completions", body)["choices"]
                assert choice["message"]["content"] == theirs
            else:
                (choice,) = post(f"{served.url}/v1/completions", {**common, "prompt": text})["choices"]
                assert choice["text"] == theirs


def post(url: str, body: dict[str, object]) -> dict[str, list[dict[str, dict[str, str]]]]:
    found: dict[str, list[dict[str, dict[str, str]]]] = (
        httpx.post(url, json=body, timeout=PATIENCE_S).raise_for_status().json()
    )
    return found
