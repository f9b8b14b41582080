"""`sixgig tune` that is killed, interrupted or out of room: nothing is lost, it goes on to the same bits."""

import json
import os
import resource
import signal
from pathlib import Path

import pytest

from sixgig.cli.main import main
from sixgig.finetune.state import load_state
from sixgig.jobs import tune_output, tune_request
from sixgig.modelfile import open_model
from tests.tiny.edited import other_weights
from tests.tune.tune_command import (
    SMALL,
    Capture,
    command_line,
    digest,
    half_demo,
    start,
    tuned,
    wait_for_step,
)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_killed_run_resumes_to_the_same_bits(
    data: Path, tmp_path: Path, capsys: Capture, optimizer: str
) -> None:
    settings = ("--steps", "4", "--optimizer", optimizer, "--save-every", "0")
    tuned(capsys, data, tmp_path / "whole", *settings)
    for step in (1, 3):
        process = start(data, tmp_path / "killed", *settings, *(["--resume"] if step > 1 else []))
        wait_for_step(tmp_path / "killed", step, process)
        process.kill()
        process.communicate()
    found = tuned(capsys, data, tmp_path / "killed", *settings, "--resume")
    assert found["steps"] == 4
    assert digest(tmp_path / "killed") == digest(tmp_path / "whole")
    assert found["losses"] == json.loads((tmp_path / "whole" / "loss.json").read_text())["losses"]


def test_ctrl_c_saves_first_and_says_how_to_go_on(data: Path, tmp_path: Path, capsys: Capture) -> None:
    process = start(data, tmp_path / "out", "--steps", "300", "--save-every", "0")
    wait_for_step(tmp_path / "out", 2, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and b"--resume" in said and b"Traceback" not in said
    assert load_state(tmp_path / "out" / "state.safetensors").progress.step >= 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_a_run_saves_it_as_ctrl_c_does(
    data: Path, tmp_path: Path, capsys: Capture, number: signal.Signals
) -> None:
    """The state is never due in an hour: what is there was saved because of the signal."""
    settings = ("--steps", "300", "--save-every", "60")
    process = start(data, tmp_path / "out", *settings)
    assert process.stderr is not None
    for line in process.stderr:
        if b"to go" in line:  # some steps are done
            break
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number and b"--resume" in said and b"Traceback" not in said
    assert load_state(tmp_path / "out" / "state.safetensors").progress.step >= 2


def test_a_resumed_run_must_be_the_same_run(data: Path, tmp_path: Path, capsys: Capture) -> None:
    process = start(data, tmp_path / "out", "--steps", "300", "--save-every", "0")
    wait_for_step(tmp_path / "out", 1, process)
    process.kill()
    process.communicate()
    state = (tmp_path / "out" / "state.safetensors").read_bytes()
    for more, named in (
        (("--steps", "301"), "steps: 300 there, 301 now"),
        (("--steps", "300", "--seed", "1"), "data"),
        (("--steps", "300", "--rank", "8"), "rank"),
        (("--steps", "300", "--threads", "1"), "threads"),
    ):
        assert main(command_line(data, tmp_path / "out", "--resume", *more)) == 1
        said = capsys.readouterr().err
        assert "belongs to another run" in said and named in said
    with other_weights(half_demo()):
        assert main(command_line(data, tmp_path / "out", "--resume", "--steps", "300")) == 1
    assert "the model file has changed" in capsys.readouterr().err
    assert main(command_line(data, tmp_path / "out", "--steps", "300")) == 2
    assert "--resume" in capsys.readouterr().err
    assert (tmp_path / "out" / "state.safetensors").read_bytes() == state


@pytest.fixture
def any_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates that are refused: this model's norms bear all others."""
    monkeypatch.setattr(tune_request, "MOST_RATE", 1e30)


@pytest.mark.usefixtures("any_rate")
def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_best_adapter(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    settings = ("--steps", "30", "--learning-rate", "1e30")
    assert main(command_line(data, tmp_path / "out", *settings)) == 1
    said = capsys.readouterr().err
    assert "diverged" in said and "--learning-rate" in said and "Traceback" not in said


@pytest.mark.usefixtures("any_rate")
def test_the_folder_of_a_diverged_run_takes_another_rate(data: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    out.mkdir()
    settings = ("--steps", "2", "--save-every", "0")
    assert main(command_line(data, out, *settings, "--learning-rate", "1e30")) == 1
    assert "begin again" in capsys.readouterr().err
    assert tuned(capsys, data, out, *settings)["steps"] == 2


def test_weights_that_are_no_numbers_are_named_and_not_the_rate(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    """The scale of a block of one matrix, as a broken conversion leaves it."""
    model = open_model(half_demo())
    tensor = next(t for t in model.tensors if t.name == "blk.1.ffn_gate_shexp.weight")
    path = tmp_path / "broken.gguf"
    content = bytearray(half_demo().read_bytes())
    content[tensor.offset : tensor.offset + tensor.size_bytes] = b"\xff" * tensor.size_bytes
    path.write_bytes(content)
    assert main(["tune", str(path), str(data), "-o", str(tmp_path / "out"), *SMALL, "--steps", "2"]) == 1
    said = capsys.readouterr().err
    assert tensor.name in said and "no finite numbers" in said and "--learning-rate" not in said
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_room(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    out, settings = tmp_path / "out", ("--steps", "5", "--save-every", "0")
    process = start(data, out, *settings)
    wait_for_step(out, 1, process)
    size = (out / "state.safetensors").stat().st_size
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size // 2, size // 2))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and b"cannot be saved" in said and b"Traceback" not in said
    assert os.listdir(out) == ["state.safetensors"]
    assert tuned(capsys, data, out, *settings, "--resume")["steps"] <= 5
    assert "state.safetensors" not in os.listdir(out)


def test_a_failed_last_write_is_done_again_by_resuming(
    data: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise OSError(28, "No space left on device", "loss.svg")

    with monkeypatch.context() as patch:
        patch.setattr(tune_output, "draw_losses", full)
        assert main(command_line(data, tmp_path / "out", "--steps", "2")) == 1
        assert "No space left" in capsys.readouterr().err
    found = tuned(capsys, data, tmp_path / "out", "--steps", "2", "--resume")
    tuned(capsys, data, tmp_path / "whole", "--steps", "2")
    assert found["steps"] == 2 and digest(tmp_path / "out") == digest(tmp_path / "whole")


def test_two_runs_never_share_a_folder(data: Path, tmp_path: Path, capsys: Capture) -> None:
    process = start(data, tmp_path / "out", "--steps", "300", "--save-every", "0")
    wait_for_step(tmp_path / "out", 1, process)
    assert main(command_line(data, tmp_path / "out", "--steps", "300", "--resume")) == 1
    assert "another run is writing" in capsys.readouterr().err
    process.kill()
    process.communicate()
