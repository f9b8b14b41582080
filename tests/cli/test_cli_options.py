"""Every option of every verb at values that nobody means: refused in one line or obeyed, never a bug."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.terminal import ROOT

VERBS = ("run", "bench", "plan", "score", "shrink", "tune", "serve", "ledger", "doctor")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Path]) -> Path:
    made, draw = tmp_path_factory.mktemp("sweep"), random.Random(1)
    (made / "model.gguf").write_bytes(tiny("qwen3moe").read_bytes())
    words = ["".join(draw.choices("abcdefgh", k=5)) for _ in range(20_000)]
    (made / "text.txt").write_text("\n\n".join(" ".join(words[at : at + 90]) for at in range(0, 20_000, 90)))
    turns = [
        [{"role": "user", "content": f"the {i}"}, {"role": "assistant", "content": "cat"}] for i in range(20)
    ]
    (made / "data.jsonl").write_text("\n".join(json.dumps({"messages": turn}) for turn in turns))
    return made


@pytest.mark.parametrize("verb", VERBS)
def test_no_value_of_an_option_is_a_bug(verb: str, folder: Path) -> None:
    command = [sys.executable, "-m", "tests.cli.option_sweep", verb, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-2000:]
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cases) >= 4
    wrong = [
        (option, value[:30], words[:300])
        for option, value, status, words in cases
        if "a bug in sixgig" in words or (status in (1, 2)) != words.startswith("error: ") or len(words) > 600
    ]
    assert not wrong
