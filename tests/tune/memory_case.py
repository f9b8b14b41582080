"""`sixgig tune` in a memory cgroup well above --ram: passing the budget is seen, and ends nothing."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.cgroup import MemoryGroup, unavailable

LIMIT_BYTES = 3 << 30
PATIENCE_S = 500.0
PREDICTED_WITHIN = 0.10
SENTENCE = "the old mill stands by the river and turns slowly in the rain "
Options = Sequence[object]


def example_text(path: Path, n_tokens: int) -> Path:
    """Four conversations of about so many tokens together."""
    words = SENTENCE * (1 + n_tokens // 4 // len(SENTENCE.split()))
    messages = [{"role": "user", "content": "Tell me."}, {"role": "assistant", "content": words}]
    path.write_text("\n".join(json.dumps({"messages": messages}) for _ in range(4)))
    path.with_name("judged.jsonl").write_text(
        json.dumps({"messages": [messages[0], {"role": "assistant", "content": SENTENCE[:-5]}]})
    )
    return path


def command(model: Path, text: Path, out: Path, options: Options) -> list[str]:
    fixed = ("--held-out", text.with_name("judged.jsonl"), "-o", out, "--threads", 2, "--json")
    words = [str(word) for word in (model, text, *fixed, *options)]
    return [sys.executable, "-m", "sixgig", "tune", *words]


def smallest_ram(model: Path, text: Path, out: Path, options: Options) -> str:
    """The budget that the refusal of a smaller one names."""
    line = command(model, text, out, (*options, "--ram", "300M"))
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    named = re.search(r"try --ram (\d+M)", done.stderr)
    assert named is not None, done.stderr
    return named[1]


def tuned_in_a_group(model: Path, text: Path, out: Path, options: Options) -> dict[str, Any]:
    """What the command told, and under "group" the most anonymous memory that its cgroup saw."""
    if reason := unavailable():
        pytest.skip(reason)
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    with MemoryGroup(LIMIT_BYTES) as group:
        run = group.run(command(model, text, out, options), PATIENCE_S, environment)
    assert not run.status and not run.timed_out, run.stderr
    return json.loads(run.stdout) | {"group": run.peak_anonymous_bytes}


def require_kept(told: dict[str, Any]) -> None:
    """Within the budget by both accounts, and as predicted."""
    ram, peak, predicted = (
        told[name] for name in ("ram_budget_bytes", "peak_memory_bytes", "predicted_peak_memory_bytes")
    )
    print(f"{ram / 2**20:.0f} MiB allowed, {predicted / 2**20:.0f} predicted, {peak / 2**20:.0f} taken")
    assert peak <= ram
    assert told["group"] <= ram
    assert abs(predicted / peak - 1) <= PREDICTED_WITHIN
