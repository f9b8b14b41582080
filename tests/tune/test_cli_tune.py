"""`sixgig tune` on the demo model: what it makes, what it refuses, and what a kill leaves."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from sixgig.cli import tune_output
from sixgig.cli.main import main
from sixgig.cli.opening import demo_path
from sixgig.cli.tune_request import Request
from sixgig.finetune.state import load_state
from sixgig.modelfile import open_model

Capture = pytest.CaptureFixture[str]
KEYS = (
    "adapter",
    "steps",
    "seconds_per_step",
    "heldout_loss_before",
    "heldout_loss_after",
    "peak_memory_bytes",
)
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


def _arguments(data: Path, out: Path, *more: str) -> list[str]:
    return ["tune", str(demo_path()), str(data), "-o", str(out), *SMALL, *more]


def _tuned(capsys: Capture, data: Path, out: Path, *more: str) -> dict[str, Any]:
    assert main(_arguments(data, out, "--json", *more)) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def _digest(out: Path) -> str:
    return sha256((out / "adapter.gguf").read_bytes()).hexdigest()


def _start(data: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sixgig.cli.main", *_arguments(data, out, *more)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _wait_for_step(out: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    path = out / "state.safetensors"
    while process.poll() is None:
        if path.exists() and load_state(path).progress.step >= step:
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate()[1].decode())


def test_a_run_lowers_the_held_out_loss_and_leaves_what_it_says(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    found = _tuned(capsys, data, tmp_path / "out", "--steps", "8", "--learning-rate", "5e-3")
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


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_killed_run_resumes_to_the_same_bits(
    data: Path, tmp_path: Path, capsys: Capture, optimizer: str
) -> None:
    settings = ("--steps", "4", "--optimizer", optimizer, "--save-every", "0")
    _tuned(capsys, data, tmp_path / "whole", *settings)
    for step in (1, 3):
        process = _start(data, tmp_path / "killed", *settings, *(["--resume"] if step > 1 else []))
        _wait_for_step(tmp_path / "killed", step, process)
        process.kill()
        process.communicate()
    found = _tuned(capsys, data, tmp_path / "killed", *settings, "--resume")
    assert found["steps"] == 4
    assert _digest(tmp_path / "killed") == _digest(tmp_path / "whole")
    assert found["losses"] == json.loads((tmp_path / "whole" / "loss.json").read_text())["losses"]


def test_ctrl_c_saves_first_and_says_how_to_go_on(data: Path, tmp_path: Path, capsys: Capture) -> None:
    process = _start(data, tmp_path / "out", "--steps", "300", "--save-every", "0")
    _wait_for_step(tmp_path / "out", 2, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and b"--resume" in said and b"Traceback" not in said
    assert load_state(tmp_path / "out" / "state.safetensors").progress.step >= 2


def test_a_resumed_run_must_be_the_same_run(data: Path, tmp_path: Path, capsys: Capture) -> None:
    process = _start(data, tmp_path / "out", "--steps", "300", "--save-every", "0")
    _wait_for_step(tmp_path / "out", 1, process)
    process.kill()
    process.communicate()
    state = (tmp_path / "out" / "state.safetensors").read_bytes()
    for more, named in (
        (("--steps", "301"), "recipe"),
        (("--steps", "300", "--seed", "1"), "data"),
        (("--steps", "300", "--rank", "8"), "rank"),
        (("--steps", "300", "--threads", "1"), "threads"),
    ):
        assert main(_arguments(data, tmp_path / "out", "--resume", *more)) == 1
        said = capsys.readouterr().err
        assert "belongs to another run" in said and named in said
    assert main(_arguments(data, tmp_path / "out", "--steps", "300")) == 1
    assert "--resume" in capsys.readouterr().err
    assert (tmp_path / "out" / "state.safetensors").read_bytes() == state


def _refusals() -> list[tuple[Callable[[Path, Path], list[str]], str]]:
    return [
        (lambda data, out: _arguments(out.parent / "none.jsonl", out), "none.jsonl"),
        (lambda data, out: _arguments(data, out, "--targets", "router"), "--targets"),
        (lambda data, out: _arguments(data, out, "--ram", "100M"), "try --ram"),
        (lambda data, out: _arguments(data, out, "--vram", "6G"), "there is no GPU"),
        (lambda data, out: _arguments(data, out, "--learning-rate", "-1"), "--learning-rate"),
        (lambda data, out: _arguments(data, out, "--rank", "0"), "--rank"),
        (lambda data, out: _arguments(data, out, "--steps", "0"), "--steps"),
        (lambda data, out: _arguments(data, out, "--threads", "100000"), "--threads"),
        (lambda data, out: _arguments(data, out, "--epochs", "100000000"), "--epochs"),
        (lambda data, out: _arguments(data, out, "--save-every", "nan"), "--save-every"),
        (lambda data, out: _arguments(data, out, "--alpha", "inf"), "--alpha"),
        (lambda data, out: _arguments(data, data), "it is no folder"),
        (lambda data, out: _arguments(data, out, "--context", "99999"), "trained for"),
        (lambda data, out: _arguments(data, out, "--merge", str(data)), "--merge"),
        (lambda data, out: _arguments(data, out, "--resume"), "no run to go on with"),
        (lambda data, out: _arguments(data, out, "--held-out", str(data)), "held-out examples"),
        (lambda data, out: _arguments(demo_path(), out), "UTF-8"),
    ]


@pytest.mark.parametrize(("arguments", "named"), _refusals())
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: Callable[[Path, Path], list[str]], named: str, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert main(arguments(data, tmp_path / "out")) == 1
    said = capsys.readouterr().err
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert named in error and "Traceback" not in said
    assert not (tmp_path / "out").exists() and data.is_file()


def test_a_bad_line_of_data_is_named(data: Path, tmp_path: Path, capsys: Capture) -> None:
    lines = data.read_text().splitlines()
    lines[7] = '{"messages": 7}'
    bad = tmp_path / "bad.jsonl"
    bad.write_text("\n".join(lines))
    assert main(_arguments(bad, tmp_path / "out")) == 1
    assert "bad.jsonl, line 8" in capsys.readouterr().err


def test_an_architecture_that_cannot_be_tuned_is_refused(
    data: Path, tmp_path: Path, capsys: Capture, tiny: Callable[..., Path]
) -> None:
    model = tiny("gpt-oss", "Q4_0", n_layers=2)
    assert main(["tune", str(model), str(data), "-o", str(tmp_path / "out")]) == 1
    assert "gpt-oss" in capsys.readouterr().err


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_best_adapter(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    settings = ("--steps", "30", "--learning-rate", "1e30")
    assert main(_arguments(data, tmp_path / "out", *settings)) == 1
    said = capsys.readouterr().err
    assert "diverged" in said and "--learning-rate" in said and "Traceback" not in said


def test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_room(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    out, settings = tmp_path / "out", ("--steps", "20", "--save-every", "0")
    process = _start(data, out, *settings)
    _wait_for_step(out, 1, process)
    size = (out / "state.safetensors").stat().st_size
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size // 2, size // 2))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and b"cannot be saved" in said and b"Traceback" not in said
    assert os.listdir(out) == ["state.safetensors"]
    assert _tuned(capsys, data, out, *settings, "--resume")["steps"] <= 20
    assert "state.safetensors" not in os.listdir(out)


def test_a_failed_last_write_is_done_again_by_resuming(
    data: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise OSError(28, "No space left on device", "loss.svg")

    with monkeypatch.context() as patch:
        patch.setattr(tune_output, "draw_losses", full)
        assert main(_arguments(data, tmp_path / "out", "--steps", "2")) == 1
        assert "No space left" in capsys.readouterr().err
    found = _tuned(capsys, data, tmp_path / "out", "--steps", "2", "--resume")
    _tuned(capsys, data, tmp_path / "whole", "--steps", "2")
    assert found["steps"] == 2 and _digest(tmp_path / "out") == _digest(tmp_path / "whole")


def test_files_of_something_else_stay(data: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "adapter_config.json").write_text("mine")
    assert main(_arguments(data, tmp_path)) == 1
    assert "adapter_config.json of something else" in capsys.readouterr().err
    assert main(_arguments(data, tmp_path / "out", "--merge", str(tmp_path / "out" / "loss.json"))) == 1
    assert "--merge" in capsys.readouterr().err
    assert (tmp_path / "adapter_config.json").read_text() == "mine"


def test_two_runs_never_share_a_folder(data: Path, tmp_path: Path, capsys: Capture) -> None:
    process = _start(data, tmp_path / "out", "--steps", "300", "--save-every", "0")
    _wait_for_step(tmp_path / "out", 1, process)
    assert main(_arguments(data, tmp_path / "out", "--steps", "300", "--resume")) == 1
    assert "another run is writing" in capsys.readouterr().err
    process.kill()
    process.communicate()


def test_an_adapter_that_changes_nothing_is_not_praised(data: Path, tmp_path: Path, capsys: Capture) -> None:
    merged = str(tmp_path / "merged.gguf")
    found = _tuned(capsys, data, tmp_path / "out", "--steps", "3", "--learning-rate", "30", "--merge", merged)
    assert found["best_step"] == 0 and "changes nothing" in " ".join(found["notices"])
    assert not Path(merged).exists()


def test_merging_says_what_became_of_the_types(data: Path, tmp_path: Path, capsys: Capture) -> None:
    merged = tmp_path / "merged.gguf"
    found = _tuned(capsys, data, tmp_path / "out", "--steps", "2", "--merge", str(merged))
    assert "merged into" in " ".join(found["notices"]) and open_model(merged).size_bytes > 0


def test_a_finished_adapter_is_never_replaced(data: Path, tmp_path: Path, capsys: Capture) -> None:
    _tuned(capsys, data, tmp_path / "out", "--steps", "1")
    before = _digest(tmp_path / "out")
    assert main(_arguments(data, tmp_path / "out", "--steps", "2")) == 1
    assert "finished adapter" in capsys.readouterr().err
    assert _digest(tmp_path / "out") == before


def test_without_pytorch_the_extra_is_named(
    data: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(_arguments(data, tmp_path / "out")) == 1
    assert 'pip install "sixgig[tune]"' in capsys.readouterr().err


@pytest.mark.parametrize(("n_tokens", "step"), [(10_000, 333), (60_000, 1024), (1_000_000, 4096)])
def test_little_data_gets_a_smaller_batch_unless_one_was_asked_for(n_tokens: int, step: int) -> None:
    asked = {field.name: None for field in fields(Request)} | {
        "targets": "attention", "output": Path("nowhere"), "optimizer": "adamw", "save_every_s": 60.0,
        "rank": 4, "epochs": 2, "context": 256,
    }  # fmt: skip
    assert Request(**asked).with_batch_for(n_tokens).step_tokens == step
    assert Request(**asked | {"batch": 4096}).with_batch_for(n_tokens).step_tokens == 4096
