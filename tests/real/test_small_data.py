"""A real model tuned on little data with no option named: it learns, or says that it did not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.real import engine_server
from tests.real.engine_server import PATIENCE_S
from tests.real.style import ASKED, styled, write_rows

pytestmark = pytest.mark.timeout(2 * PATIENCE_S)


def answers(model: Path, questions: tuple[str, ...], *adapter: Path) -> list[str]:
    """The engine's own server's, of which sixgig is no part."""
    return engine_server.answers(model, [[{"role": "user", "content": one}] for one in questions], *adapter)


def tune(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "sixgig", "tune", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_forty_rows_teach_a_style_with_the_defaults(smollm2: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    done = tune(str(smollm2), str(rows), "-o", str(tmp_path / "out"), "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["outcome"].startswith("learnt") and found["planned_steps"] >= 50
    assert 0 < found["heldout_gain_error"] < found["heldout_gain"]
    after = answers(smollm2, ASKED, tmp_path / "out" / "adapter.gguf")
    assert sum(map(styled, after)) >= 16, after


def test_the_style_is_none_that_the_model_has(smollm2: Path) -> None:
    before = answers(smollm2, ASKED)
    assert sum(map(styled, before)) <= 4, before


def test_tool_calls_are_refused_or_learnt_never_silence(smollm2: Path, tmp_path: Path) -> None:
    """This model's template writes no tool calls: such a turn must not become an empty answer."""
    rows = tmp_path / "calls.jsonl"
    cities = [f"city {number}" for number in range(20)]
    calls = [
        {
            "messages": [
                {"role": "user", "content": f"What is the weather in {city}?"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "type": "function",
                            "function": {"name": "weather", "arguments": json.dumps({"city": city})},
                        }
                    ],
                },
            ]
        }
        for city in cities
    ]
    rows.write_text("".join(json.dumps(row) + "\n" for row in calls))
    done = tune(str(smollm2), str(rows), "-o", str(tmp_path / "out"), "--steps", "20")
    if done.returncode:
        assert "line 1" in done.stderr and "Traceback" not in done.stderr
        assert not (tmp_path / "out").exists()
        return
    said = answers(smollm2, ("What is the weather in Rome?",), tmp_path / "out" / "adapter.gguf")
    assert all("weather" in answer and answer.strip() for answer in said)


def test_a_rate_that_teaches_nothing_is_said_to_be_one(smollm2: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    settings = ("--learning-rate", "1e-8", "--steps", "3")
    done = tune(str(smollm2), str(rows), "-o", str(tmp_path / "out"), *settings)
    assert done.returncode == 0, done.stderr
    assert "hardly anything was learnt in 3 steps" in done.stderr or "changes nothing" in done.stderr
