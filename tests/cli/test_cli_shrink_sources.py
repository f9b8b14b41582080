"""`sixgig shrink` makes a file of what it was asked for: never of another source, nor of earlier weights."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sixgig.cli.main import main
from sixgig.jobs import shrink_source
from tests.cli.shrink_folders import SIZE, folder_of
from tests.cli.test_cli_shrink_refusals import refused

pytestmark = pytest.mark.usefixtures("quick")

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]
WEIGHTS = "model.safetensors"


def command(source: Path, out: Path, text: Path, *more: str) -> list[str]:
    return ["shrink", str(source), "-o", str(out), "--size", SIZE, "--text", str(text), "--no-prune", *more]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two models of one shape, in folders of one name."""
    place = tmp_path_factory.mktemp("folders")
    return {name: folder_of(place / name / "model", seed) for seed, name in enumerate("ab")}


@pytest.fixture(scope="module")
def right(folders: dict[str, Path], text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What each gives alone."""
    from tests.cli.shrink_source import quicken

    found = {}
    for name, folder in folders.items():
        out = tmp_path_factory.mktemp("right") / "out.gguf"
        with pytest.MonkeyPatch.context() as patch:
            quicken(patch)
            assert main(command(folder, out, text)) == 0
        assert os.listdir(out.parent) == ["out.gguf"]
        found[name] = out.read_bytes()
    assert found["a"] != found["b"]
    return found


def test_two_folders_with_one_work_folder_give_two_files_each_right(
    capsys: Capture, folders: dict[str, Path], right: dict[str, bytes], text: Path, tmp_path: Path
) -> None:
    work = ("--work", str(tmp_path / "w"))
    for name in "aba":
        out = tmp_path / f"{name}.gguf"
        assert main(command(folders[name], out, text, *work)) == 0
        assert out.read_bytes() == right[name]
        said = capsys.readouterr().err
        assert ("are not used" in said) == (tmp_path / "b.gguf").exists()
    assert "converted by an earlier run" in said and len(list((tmp_path / "w").iterdir())) == 2


@pytest.mark.parametrize("stage", ["converting", "judging"])
def test_a_stopped_run_whose_folder_changed_gives_the_new_weights(
    capsys: Capture,
    folders: dict[str, Path],
    right: dict[str, bytes],
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    folder, out = tmp_path / "model", tmp_path / "out.gguf"
    shutil.copytree(folders["a"], folder)
    stopped_at(stage, command(folder, out, text))
    out.unlink(missing_ok=True)
    shutil.copy2(folders["b"] / WEIGHTS, folder / WEIGHTS)
    os.utime(folder / WEIGHTS, ns=(0, (folders["a"] / WEIGHTS).stat().st_mtime_ns))
    assert main(command(folder, out, text)) == 0
    assert out.read_bytes() == right["b"]
    assert "model has changed: the findings of an earlier run" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["model", "out.gguf"]


STOPPING = """
import os, signal, sys
import pytest
from sixgig.cli import reporter
from sixgig.cli.main import main
from tests.cli.shrink_source import quicken

stage = sys.argv[1]
quicken(pytest.MonkeyPatch())

class Bar:
    def __init__(self, label, begins=False):
        self.label = label
    def __enter__(self):
        return self
    def __exit__(self, *_):
        if self.label.startswith(stage):
            os.kill(os.getpid(), signal.SIGKILL)
    def __call__(self, fraction):
        if self.label.startswith(stage) and (fraction > 0.5 or stage == "writing"):
            os.kill(os.getpid(), signal.SIGKILL)

reporter.PromptBar = Bar
main(sys.argv[2:])
"""


def stopped_at(stage: str, words: list[str]) -> None:
    """The run, killed in the middle of a stage."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", STOPPING, stage, *words]
    done = subprocess.run(arguments, cwd=ROOT, timeout=110, capture_output=True, env=environment)
    assert done.returncode == -9, done.stderr


def test_killed_at_any_stage_it_ends_in_the_same_file(
    folders: dict[str, Path], right: dict[str, bytes], text: Path, tmp_path: Path
) -> None:
    words = command(folders["a"], tmp_path / "out.gguf", text)
    for stage in ("converting", "the source on the search", "writing: by costs", "judging out"):
        stopped_at(stage, words)
    assert main(words) == 0
    assert (tmp_path / "out.gguf").read_bytes() == right["a"]
    assert os.listdir(tmp_path) == ["out.gguf"]


def test_a_repaired_folder_is_converted_anew(
    capsys: Capture, folders: dict[str, Path], right: dict[str, bytes], text: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    folder, words = tmp_path / "model", command(tmp_path / "model", tmp_path / "out" / "o.gguf", text)
    shutil.copytree(folders["a"], folder)
    for name in (WEIGHTS, "tokenizer.json", "config.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
        refused(capsys, tmp_path / "out", *words[1:], status=1)
        (folder / name).write_bytes(content)
    assert main(words) == 0
    assert (tmp_path / "out" / "o.gguf").read_bytes() == right["a"]


def test_a_folder_that_changes_while_it_is_converted_is_refused(
    capsys: Capture, folders: dict[str, Path], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    folder, real = tmp_path / "model", shrink_source.convert_checked
    shutil.copytree(folders["a"], folder)

    def meanwhile(source: Path, out: Path, **options: Any) -> None:
        shutil.copy2(folders["b"] / WEIGHTS, folder / WEIGHTS)
        real(source, out, **options)

    monkeypatch.setattr(shrink_source, "convert_checked", meanwhile)
    words = command(folder, tmp_path / "out" / "o.gguf", text)[1:]
    line = refused(capsys, tmp_path / "out", *words, status=1)
    assert "model changed while it was converted" in line


def test_a_file_that_changes_while_it_is_shrunk_is_refused(
    capsys: Capture, source: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = Path(shutil.copy2(source, tmp_path / "m.gguf")), shrink_source.model_digest
    digests = iter(["0" * 64])
    monkeypatch.setattr(shrink_source, "model_digest", lambda model: next(digests, None) or real(model))
    words = [str(path), "-o", str(tmp_path / "o.gguf"), "--size", "1M", "--text", str(text), "--no-prune"]
    assert "changed while it was shrunk" in refused(capsys, tmp_path, *words, status=1)


def test_an_output_that_somebody_replaced_is_neither_taken_nor_overwritten(
    capsys: Capture, folders: dict[str, Path], text: Path, tmp_path: Path
) -> None:
    words = command(folders["a"], tmp_path / "out.gguf", text, "--work", str(tmp_path / "w"))
    assert main(words) == 0
    (tmp_path / "out.gguf").write_bytes(b"mine")
    capsys.readouterr()
    assert "exists; remove it" in refused(capsys, tmp_path, *words[1:])
    assert (tmp_path / "out.gguf").read_bytes() == b"mine"


def test_two_runs_do_not_share_a_work_folder(
    capsys: Capture, folders: dict[str, Path], text: Path, tmp_path: Path
) -> None:
    from sixgig.compress.workfolder import WorkPlaces

    with WorkPlaces(tmp_path / "out.gguf.work").held():
        line = refused(capsys, tmp_path, *command(folders["a"], tmp_path / "out.gguf", text)[1:])
    assert "another run works in" in line


def test_the_file_names_the_folder_it_was_made_of(right: dict[str, bytes], tmp_path: Path) -> None:
    from sixgig.modelfile import open_model

    (tmp_path / "m.gguf").write_bytes(right["a"])
    assert open_model(tmp_path / "m.gguf").metadata.text("sixgig.shrink.source") == "model.gguf"
