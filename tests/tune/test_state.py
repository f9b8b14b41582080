"""The saved state of a run: whole or not there, and refused when it is not this run's."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sixgig.errors import TrainingError
from sixgig.finetune.state import Progress, load_state, require_same, save_state
from sixgig.units import first_difference

JOB = {"date": "2026-11-25T10:00:00", "model": [[1, 2]], "rank": 4}


def _saved(path: Path) -> None:
    progress = Progress(3, 99, 1.5, [3.0, 2.0, 1.0], [(0, 3.5), (3, 1.25)])
    save_state(path, JOB, progress, {"factor.a": torch.arange(6.0).view(2, 3), "best.a": torch.ones(2, 3)})


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    _saved(path := tmp_path / "state.safetensors")
    state = load_state(path)
    assert state.progress.best == (3, 1.25) and state.progress.losses == [3.0, 2.0, 1.0]
    assert torch.equal(dict(state.tensors("factor."))["a"], torch.arange(6.0).view(2, 3))
    require_same(state, JOB, path)


@pytest.mark.parametrize(
    ("key", "value", "named"), [("rank", 8, "rank: 4 there"), ("model", 0, "has changed")]
)
def test_another_run_is_refused_by_what_differs(tmp_path: Path, key: str, value: int, named: str) -> None:
    _saved(path := tmp_path / "state.safetensors")
    with pytest.raises(TrainingError, match=named):
        require_same(load_state(path), JOB | {key: value}, path)


def test_a_field_inside_that_differs_is_named_alone() -> None:
    recipe = {"optimiser": "adamw", "learning_rate": 2e-4, "weight_decay": 0.0, "steps": 40}
    then, now = {"rank": 4, "recipe": recipe}, {"rank": 4, "recipe": recipe | {"steps": 41}}
    assert first_difference(then, now) == "steps: 40 there, 41 now"
    long = [[number, "x" * 9] for number in range(40)]
    shown = first_difference({"model": long}, {"model": [*long[:-1], [39, "y"]]})
    there, here = shown.removeprefix("model: ").removesuffix(" now").split(" there, ")
    assert there != here and max(len(there), len(here)) <= 63
    assert first_difference(then, then) == ""


@pytest.mark.parametrize(
    "notes",
    [
        {},
        {"job": "[]", "progress": "{}"},
        {"job": "{}", "progress": "{}"},
        {"job": json.dumps({"date": "yesterday"}), "progress": "{}"},
        {"job": json.dumps(JOB), "progress": '{"unknown": 1}'},
        {"job": json.dumps(JOB), "progress": '{"held_out": [[1]]}'},
        {"job": json.dumps(JOB), "progress": '{"judged": [1, 2], "nll_before": [1.0]}'},
    ],
)
def test_a_hostile_state_is_one_error(tmp_path: Path, notes: dict[str, str]) -> None:
    path = tmp_path / "state.safetensors"
    save_file({"factor.a": torch.ones(2)}, path, notes)
    with pytest.raises(TrainingError, match="holds no state of a run"):
        load_state(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 64, (1 << 60).to_bytes(8, "little") + b"{}"])
def test_a_damaged_state_is_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="holds no state of a run"):
        load_state(path)


def test_a_state_that_cannot_be_written_leaves_the_former(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _saved(path := tmp_path / "state.safetensors")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sixgig.finetune.state.os.replace", full)
    with pytest.raises(TrainingError, match="cannot be saved"):
        _saved(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
