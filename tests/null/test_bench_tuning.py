"""The measurements of tuning: what they compute from what they saw."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.tuning.learning import Failed, Sweep
from bench.tuning.memory import Pace, bytes_of_a_step, one_batch
from bench.tuning.ours import MIB, micro_batch, smallest
from bench.tuning.peers import show
from sixgig.errors import BudgetError
from sixgig.finetune.packing import NO_TARGET
from sixgig.modelfile import open_model
from sixgig.planning import anatomy
from sixgig.planning.pieces import pieces_of


def test_the_floor_is_computing_plus_the_reading_that_it_does_not_hide() -> None:
    assert Pace(step_s=10.0, compute_s=8.0, read_s=5.0).floor_s == 8.0
    slow_disk = Pace(step_s=12.5, compute_s=4.0, read_s=10.0)
    assert (slow_disk.floor_s, slow_disk.ratio) == (10.0, 1.25)


@pytest.mark.parametrize("stays", [0.0, 0.25])
def test_bytes_of_a_step_leave_out_what_is_read_once_and_what_is_judged(
    shared_model: Path, stays: float
) -> None:
    pieces = pieces_of(anatomy(open_model(shared_model)))
    forward, step = (sum(piece.size_bytes for piece in order) for order in (pieces.forward(), pieces.step()))
    again = 1 - stays
    told = {
        "steps": 3,
        "held_out": [[n, 1.0] for n in range(4)],
        "read_bytes_per_step": again * step,
        "bytes_read": stays * forward + again * (4 * forward + 3 * step),
    }
    assert bytes_of_a_step(told, pieces) == pytest.approx(again * step)


def test_what_is_judged_has_no_more_bytes_than_a_batch_has_tokens() -> None:
    assert one_batch("ab" + "é" * 10, 9) == "é" * 3


def test_smallest_is_the_first_budget_that_is_not_refused() -> None:
    def plan(ram_bytes: int) -> Any:
        if ram_bytes < 77 * MIB:
            raise BudgetError("too little")

    assert smallest(plan, 1000 * MIB) == 77 * MIB


def test_documents_predict_all_but_their_first_tokens() -> None:
    targets = micro_batch(np.arange(6, dtype=np.int32).reshape(2, 3)).targets
    assert targets.tolist() == [1, 2, NO_TARGET, 4, 5, NO_TARGET]


def test_peers_report_tells_ratios_the_largest_difference_and_who_fails() -> None:
    ours = run([9.0, 2.0, 2.0], [3.0, 2.5, 2.0], peak=300, imported=200)
    theirs = run([9.0, 1.0, 1.0], [3.0, 2.5, 2.25], peak=600, imported=200)
    runs = {"ours resident": [ours], "peft plain": [theirs]}
    text = show({"runs": runs, "failed": {"peft device_map": "RuntimeError: no"}})
    assert "ours resident / peft plain: time 2.00, memory 0.50, added memory 0.25" in text
    assert "2.5e-01" in text and "RuntimeError: no" in text


def run(seconds: list[float], losses: list[float], peak: int, imported: int) -> dict[str, Any]:
    return {"step_seconds": seconds, "losses": losses, "peak_bytes": peak, "imported_bytes": imported}


def test_a_sweep_measures_nothing_twice_and_tells_what_failed(tmp_path: Path) -> None:
    text, options = (
        tmp_path / "book.txt",
        {"work": tmp_path, "threads": 1, "model": "none.gguf", "windows": 9},
    )
    words = ["score", "none.gguf", "--text", str(text), "--windows", "9", "--threads", "1"]
    known = {"command": words, "told": {"perplexity": 1.0}}
    (tmp_path / f"{tmp_path.name}-book-before.json").write_text(json.dumps(known))
    assert Sweep(Namespace(**options)).score(text, None) == 0.0
    with pytest.raises(Failed, match=r"none\.gguf"):
        Sweep(Namespace(**{**options, "windows": 8})).score(text, None)
