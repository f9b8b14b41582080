"""What is refused before anything is written, and that a file appears whole or not at all."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sixgig.checkpoint import convert, is_checkpoint
from sixgig.errors import BudgetError, ModelFileError, UsageError
from sixgig.modelfile import open_model
from tests.null.test_checkpoint import CONFIG, write_folder


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    assert not is_checkpoint(tmp_path / "absent") and not is_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert not is_checkpoint(tmp_path) and not is_checkpoint(tmp_path / "config.json")


def test_an_unknown_architecture_is_told_those_that_work(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", CONFIG | {"architectures": ["NoSuchForCausalLM"]})
    with pytest.raises(ModelFileError, match=r"NoSuchForCausalLM.*llama, .*qwen3moe.*GGUF"):
        convert(folder, tmp_path / "m.gguf")


def test_what_the_graph_does_not_do_is_refused(tmp_path: Path) -> None:
    for wrong in ({"hidden_act": "gelu"}, {"rope_scaling": {"rope_type": "longrope"}}):
        with pytest.raises(ModelFileError, match=r"gelu|longrope"):
            convert(write_folder(tmp_path / "m", CONFIG | wrong), tmp_path / "m.gguf")
    assert not (tmp_path / "m.gguf").exists()


def test_a_missing_tokenizer_has_a_cure(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelFileError, match=r"tokenizer.*put the model's tokenizer\.json into the folder"):
        convert(folder, tmp_path / "m.gguf")


def test_a_full_disk_is_noticed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = write_folder(tmp_path / "m"), tmp_path / "m.gguf"
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=5))
    with pytest.raises(BudgetError, match=r"needs .* KiB, 5 B free"):
        convert(folder, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    folder, out = write_folder(tmp_path / "m"), tmp_path / "m.gguf"
    out.write_text("before")

    def stop(fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(folder, out, progress=stop)
    assert out.read_text() == "before" and sorted(path.name for path in tmp_path.iterdir()) == ["m", "m.gguf"]


_KILLED = """
import sys, time
from pathlib import Path
from sixgig.checkpoint import convert

def wait(fraction):
    if fraction > 0.5:
        print("half", flush=True)
        time.sleep(60)

convert(Path(sys.argv[1]), Path(sys.argv[2]), progress=wait)
"""


def test_a_killed_run_leaves_nothing_under_the_name_and_the_next_one_works(tmp_path: Path) -> None:
    folder, out = write_folder(tmp_path / "m"), tmp_path / "m.gguf"
    command = [sys.executable, "-c", _KILLED, str(folder), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "half\n"
        with pytest.raises(UsageError, match="another process"):
            convert(folder, out)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not out.exists()
    convert(folder, out)
    assert open_model(out).tensors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "m.gguf"]


def test_an_alignment_that_is_no_power_of_two(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="power of two"):
        convert(write_folder(tmp_path / "m"), tmp_path / "m.gguf", alignment=48)
