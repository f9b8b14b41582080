"""`sixgig tune` on half the demo model: what it makes and what it refuses."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sixgig.cli.main import main
from sixgig.engines import ModelSpec, model_card
from sixgig.errors import ModelFileError
from sixgig.finetune.schedule import StepSize
from sixgig.jobs.opening import demo_path
from sixgig.modelfile import open_model
from tests.tune.tune_command import SMALL, Capture, command_line, digest, half_demo, tuned

KEYS = (
    "adapter",
    "steps",
    "seconds_per_step",
    "heldout_loss_before",
    "heldout_loss_after",
    "peak_memory_bytes",
)


def test_a_run_lowers_the_held_out_loss_and_leaves_what_it_says(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    found = tuned(capsys, data, tmp_path / "out", "--steps", "8", "--learning-rate", "5e-3")
    assert set(KEYS) <= found.keys() and found["steps"] == 8
    assert found["heldout_loss_after"] < found["heldout_loss_before"] - 0.1
    assert found["within_budget"]
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert there == {
        "adapter.gguf",
        "adapter_config.json",
        "adapter_model.safetensors",
        "loss.json",
        "loss.svg",
    }


def _refusals() -> list[tuple[Callable[[Path, Path], list[str]], str]]:
    return [
        (lambda data, out: command_line(out.parent / "none.jsonl", out), "none.jsonl"),
        (lambda data, out: command_line(data, out, "--targets", "router"), "--targets"),
        (lambda data, out: command_line(data, out, "--ram", "100M"), "try --ram"),
        (lambda data, out: command_line(data, out, "--vram", "6G"), "there is no GPU"),
        (lambda data, out: command_line(data, out, "--learning-rate", "-1"), "--learning-rate"),
        (lambda data, out: command_line(data, out, "--learning-rate", "1e20"), "--learning-rate"),
        (lambda data, out: command_line(data, out, "--rank", "0"), "--rank"),
        (lambda data, out: command_line(data, out, "--steps", "0"), "--steps"),
        (lambda data, out: command_line(data, out, "--threads", "100000"), "--threads"),
        (lambda data, out: command_line(data, out, "--epochs", "100000000"), "--epochs"),
        (lambda data, out: command_line(data, out, "--save-every", "nan"), "--save-every"),
        (lambda data, out: command_line(data, out, "--alpha", "inf"), "--alpha"),
        (lambda data, out: command_line(data, data), "it is no folder"),
        (lambda data, out: command_line(data, out, "--context", "99999"), "trained for"),
        (lambda data, out: command_line(data, out, "--merge", str(data)), "--merge"),
        (lambda data, out: command_line(data, out, "--resume"), "no run to go on with"),
        (lambda data, out: command_line(data, out, "--held-out", str(data)), "held-out examples"),
        (lambda data, out: command_line(demo_path(), out), "is a GGUF model"),
        (lambda data, out: command_line(data.parent, out), "Is a directory"),
    ]


@pytest.mark.parametrize(("arguments", "named"), _refusals())
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: Callable[[Path, Path], list[str]], named: str, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    status = 1 if named in ("none.jsonl", "Is a directory", "try --ram") else 2
    assert main(arguments(data, tmp_path / "out")) == status
    said = capsys.readouterr().err
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert named in error and "Traceback" not in said
    assert not (tmp_path / "out").exists() and data.is_file()


def test_a_bad_line_of_data_is_named(data: Path, tmp_path: Path, capsys: Capture) -> None:
    lines = data.read_text().splitlines()
    lines[7] = '{"messages": 7}'
    bad = tmp_path / "bad.jsonl"
    bad.write_text("\n".join(lines))
    assert main(command_line(bad, tmp_path / "out")) == 2
    assert "bad.jsonl, line 8" in capsys.readouterr().err


def test_rows_of_a_table_are_tuned_on_and_a_mixture_is_told(tmp_path: Path, capsys: Capture) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("question,answer\n" + "".join(f"Say {n}.,{n} it is.\n" for n in range(20)))
    found = tuned(capsys, table, tmp_path / "out", "--steps", "1")
    assert found["steps"] == 1 and "mixes" not in " ".join(found["notices"])
    mixed = tmp_path / "mixed.jsonl"
    rows = [{"question": f"Say {n}.", "answer": f"{n} it is."} for n in range(9)]
    text = {"text": "Words of a book.", "remark": "It is not learnt, and told."}
    mixed.write_text("\n".join(map(json.dumps, [*rows, text])))
    found = tuned(capsys, mixed, tmp_path / "other", "--steps", "1")
    assert "mixed.jsonl mixes 9 conversations, 1 text" in found["notices"]
    assert "mixed.jsonl: left out: remark (1), in brackets of how many rows" in found["notices"]


def test_an_architecture_that_cannot_be_tuned_is_refused(
    data: Path, tmp_path: Path, capsys: Capture, tiny: Callable[..., Path]
) -> None:
    model = tiny("gpt-oss", "Q4_0", n_layers=2)
    assert main(["tune", str(model), str(data), "-o", str(tmp_path / "out")]) == 1
    assert "gpt-oss" in capsys.readouterr().err


def test_files_of_something_else_stay(data: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "adapter_config.json").write_text("mine")
    assert main(command_line(data, tmp_path)) == 2
    assert "adapter_config.json of something else" in capsys.readouterr().err
    assert main(command_line(data, tmp_path / "out", "--merge", str(tmp_path / "out" / "loss.json"))) == 2
    assert "--merge" in capsys.readouterr().err
    assert (tmp_path / "adapter_config.json").read_text() == "mine"


def test_an_adapter_that_changes_nothing_is_not_praised(data: Path, tmp_path: Path, capsys: Capture) -> None:
    merged = str(tmp_path / "merged.gguf")
    found = tuned(capsys, data, tmp_path / "out", "--steps", "3", "--learning-rate", "1", "--merge", merged)
    notices = " ".join(found["notices"])
    assert found["best_step"] == 0 and "changes nothing" in notices
    assert not Path(merged).exists() and found["merged"] is None and "was not written" in notices


def test_merging_says_what_became_of_the_types(data: Path, tmp_path: Path, capsys: Capture) -> None:
    merged = tmp_path / "merged.gguf"
    found = tuned(capsys, data, tmp_path / "out", "--steps", "2", "--merge", str(merged))
    assert "merged into" in " ".join(found["notices"]) and open_model(merged).size_bytes > 0
    for path in (found["merged"], found["adapter"], found["output"]):
        assert Path(path).exists()


def test_an_adapter_is_not_applied_to_a_file_that_has_it_merged_in(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    merged, out = tmp_path / "merged.gguf", tmp_path / "out"
    tuned(capsys, data, out, "--steps", "2", "--merge", str(merged))
    adapter = str(out / "adapter.gguf")
    assert main(["run", str(merged), "--adapter", adapter, "-p", "x", "--raw"]) == 1
    said = capsys.readouterr().err
    assert "is merged into" in said and "'out'" in said and "Traceback" not in said
    with pytest.raises(ModelFileError, match="is merged into"):
        model_card(ModelSpec("merged", merged, adapter=Path(adapter)))
    again = ["tune", str(merged), str(data), "-o", str(tmp_path / "again"), *SMALL, "--steps", "1"]
    assert main(again) == 0
    assert "has an adapter merged in already: out" in capsys.readouterr().err
    other = str(tmp_path / "again" / "adapter.gguf")
    assert main(["run", str(merged), "--adapter", other, "-p", "x", "--raw", "-n", "1"]) == 0


def test_a_finished_adapter_is_never_replaced(data: Path, tmp_path: Path, capsys: Capture) -> None:
    tuned(capsys, data, tmp_path / "out", "--steps", "1")
    before = digest(tmp_path / "out")
    assert main(command_line(data, tmp_path / "out", "--steps", "2")) == 2
    assert "finished adapter" in capsys.readouterr().err
    assert digest(tmp_path / "out") == before


def test_without_pytorch_the_extra_is_named(
    data: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(command_line(data, tmp_path / "out")) == 1
    assert 'pip install "sixgig[tune]"' in capsys.readouterr().err


def test_the_defaults_give_forty_rows_enough_steps_of_a_few_rows_each(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    few = tmp_path / "forty.jsonl"
    few.write_text("\n".join(data.read_text().splitlines()[:40]))
    assert main(["tune", str(half_demo()), str(few), "-o", str(tmp_path / "out"), "--json"]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["planned_steps"] >= 50 and found["epochs"] <= 12
    assert 4 <= found["heldout_documents"] <= 8
    assert "steps of about" in told.err and "epochs" in told.err and "to go" in told.err
    assert found["outcome"] in ("learnt", "learnt, then overfitted")
    assert 0 < found["heldout_gain_error"] < found["heldout_gain"]


def test_a_run_that_hardly_learnt_says_so(data: Path, tmp_path: Path, capsys: Capture) -> None:
    settings = ("--steps", "20", "--learning-rate", "1e-9")
    found = tuned(capsys, data, tmp_path / "out", *settings)
    assert found["outcome"] in ("hardly learnt", "changes nothing")
    assert main(command_line(data, tmp_path / "more", *settings)) == 0
    said = capsys.readouterr().err
    assert ("hardly anything was learnt" in said and "--learning-rate" in said) or "changes nothing" in said


@pytest.mark.parametrize(("n_tokens", "step"), [(10_000, 333), (60_000, 1024), (1_000_000, 4096)])
def test_little_data_gets_a_smaller_batch_unless_one_was_asked_for(n_tokens: int, step: int) -> None:
    asked = StepSize(context=256, epochs=2)
    lengths = [50] * (n_tokens // 50)
    assert asked.fitted_to(lengths).step_tokens == step
    assert replace(asked, batch=4096).fitted_to(lengths).step_tokens == 4096
    assert asked.fitted_to([*lengths, 700]).step_tokens >= 700
