"""The accuracy bench holds a real prediction against a real run, and its tables say what was measured."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.nominal import one_core
from bench.plan_accuracy import MEMORY, SPEED, memory_row, speed_row
from sixgig.hardware import Kernels, KernelSpeed
from sixgig.inference.history import past_runs


def test_a_case_predicts_runs_and_is_remembered(tiny: Callable[..., Path], tmp_path: Path) -> None:
    """In a process of its own: what other tests freed before would be in the plan and not in the peak."""
    history = tmp_path / "runs.jsonl"
    sizes = ["--context", "512", "--ubatch", "64", "--prompt", "128", "--decode", "20"]
    asked = [str(tiny("qwen3moe")), "--ram", "1G", *sizes, "--history", str(history)]
    done = subprocess.run([sys.executable, "-m", "bench.plan_case", *asked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    case = json.loads(done.stdout)
    assert case["mode"] == "unpaged" and case["peak_bytes"] > 0 and case["measured_decode_s"] > 0
    assert abs(case["predicted_bytes"] - case["peak_bytes"]) < case["margin_bytes"]
    assert case["tiers"]["KV cache"] == case["header_tiers"]["KV cache"]
    assert len(past_runs(history)) == 1
    row = memory_row({"case": "tiny", "ram": "1G", **case})
    assert row.startswith("| tiny | 512 | F16/F16 | 1G | unpaged |") and "equal" in row


def test_a_speed_row_tells_how_far_off_each_prediction_was() -> None:
    row = speed_row(
        {
            "case": "m", "ram": "1G", "mode": "paged", "hit_rate": 0.5, "measured_decode_s": 0.5,
            "published_decode_s": 0.4, "recorded_decode_s": 0.5, "decode_factor": 1.25, "n_runs": 3,
            "measured_prompt_s": 2.0, "recorded_prompt_s": 2.5, "published_prompt_s": 3.0,
        }
    )  # fmt: skip
    assert row == "| m | 1G | paged | 50% | 2.00 | 2.50 (+25%) | 2.00 (+0%) | 2.00 (+0%) | 2.00 s | 2.50 s |"


def test_the_cases_cover_what_the_tables_claim() -> None:
    assert len(MEMORY) >= 12
    assert len({case.model for case in MEMORY}) >= 5
    assert len({case.options[1] for case in MEMORY}) >= 3  # contexts
    assert {case.ram for case in SPEED if case.model == "6g"} >= {"9G", "1700M"}


def test_a_nominal_core_is_one_threads_share_of_the_medians() -> None:
    rounds = [
        Kernels("e", 2, step, row, 2048, (KernelSpeed("F32", decode, 4.0),))
        for step, row, decode in ((1.0, 3.0, 10.0), (2.0, 4.0, 20.0), (9.0, 5.0, 90.0))
    ]
    core = one_core(rounds)
    assert (core.threads, core.step_s, core.row_s) == (1, 2.0, 8.0)
    assert core.speeds == (KernelSpeed("F32", 10.0, 2.0),)
