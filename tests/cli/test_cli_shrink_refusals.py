"""What `sixgig shrink` refuses: one line says why, and nothing is left behind."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter

from sixgig.cli.main import main
from sixgig.compress import outcome
from sixgig.modelfile import TYPE_BY_NAME, local_file, open_model, read_header
from sixgig.modelfile.writer import NewTensor, lay_out
from tests.cli.shrink_source import written_text

pytestmark = pytest.mark.usefixtures("quick")

Capture = pytest.CaptureFixture[str]


def refused(capsys: Capture, folder: Path, *arguments: str, status: int = 2) -> str:
    """One line of error, nothing on stdout, and no output or work left; the line."""
    before = sorted(path.name for path in folder.iterdir())
    assert main(["shrink", *arguments]) == status
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.strip()]
    assert captured.out == "" and "Traceback" not in captured.err
    assert sum(line.startswith("error: ") for line in lines) == 1 and lines[-1].startswith("error: ")
    assert sorted(path.name for path in folder.iterdir()) == before
    return lines[-1]


@pytest.fixture
def begin(source: Path, text: Path, tmp_path: Path) -> list[str]:
    return [str(source), "--text", str(text), "-o", str(tmp_path / "out.gguf")]


def instead(begin: list[str], *arguments: str) -> list[str]:
    """`begin` with these arguments, without what it has of the options among them."""
    usual = zip(begin[1::2], begin[2::2], strict=True)
    return [begin[0], *(word for pair in usual if pair[0] not in arguments for word in pair), *arguments]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no size was named; give --size, or --ram"),
        (["--size", "tiny"], "'tiny' is not a size"),
        (["--size", "1M", "--ram", "much"], "'much' is not a size"),
        (["--size", "1K"], "cannot become as small as 1.00 KiB"),
        (["--size", "1G"], "the model is that small already"),
        (["--size", "1M", "--plot", "p.pdf"], "cannot draw p.pdf; name a .png or .svg file"),
        (["--size", "1M", "--plot", "FOLDER/none/p.svg"], "no folder"),
        (["--size", "1M", "--imatrix", "FOLDER/none/i.gguf"], "no folder"),
        (["--size", "1M", "-o", "FOLDER/none/out.gguf"], "no folder"),
        (["--size", "1M", "-o", "FOLDER"], "it is a folder"),
        (["--size", "1M", "--text", "FOLDER/none.txt"], "none.txt"),
        (["--size", "1M", "--held-out", "TEXT"], "part of the calibration text"),
        (["--size", "1M", "--threads", "0"], "--threads of 0 is not possible"),
        (["--ram", "1M"], "no weights fit in 1.00 MiB"),
    ],
)
def test_bad_options_are_refused_and_leave_nothing(
    capsys: Capture, begin: list[str], text: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    places = {"TEXT": str(text), "FOLDER": str(tmp_path)}
    filled = [
        places.get(word) or word.replace("FOLDER", str(tmp_path)).replace("TEXT", str(text))
        for word in arguments
    ]
    status = 1 if words.startswith(("cannot become as small", "none.txt", "no weights fit")) else 2
    assert words in refused(capsys, tmp_path, *instead(begin, *filled), status=status)


def test_the_smallest_size_named_is_possible(capsys: Capture, begin: list[str], tmp_path: Path) -> None:
    line = refused(capsys, tmp_path, *begin, "--size", "100K", status=1)
    size = line.rpartition("--size ")[2].split()[0]
    assert main(["shrink", *begin, "--size", size, "--no-prune", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size_bytes"] <= int(size[:-1]) << 20


def test_a_size_just_below_the_smallest_is_refused(
    capsys: Capture, begin: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = outcome.Shrinker.smallest_bytes
    monkeypatch.setattr(outcome.Shrinker, "smallest_bytes", lambda *a: sizes.append(real(*a)) or sizes[-1])
    refused(capsys, tmp_path, *begin, "--size", "1K", status=1)
    just_below = ("--size", str(sizes[0] - 1))
    assert "cannot become as small" in refused(capsys, tmp_path, *begin, *just_below, status=1)


def test_a_full_disk_is_told_before_anything_is_computed(
    capsys: Capture, begin: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(outcome.shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
    line = refused(capsys, tmp_path, *begin, "--size", "1M", status=1)
    assert "no room on the disk" in line and "1.00 MiB free" in line


def test_a_disk_that_fills_up_while_writing_leaves_no_output_and_goes_on(
    capsys: Capture, begin: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    command = ["shrink", *begin, "--size", "1M", "--no-prune"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        assert main(command) == 1
    said = capsys.readouterr()
    assert "No space left on device" in said.err.splitlines()[-1] and "Traceback" not in said.err
    assert not (tmp_path / "out.gguf").exists()
    assert main(command) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]


def test_an_output_that_exists_is_not_replaced(capsys: Capture, begin: list[str], tmp_path: Path) -> None:
    (tmp_path / "out.gguf").write_text("mine")
    assert "exists; remove it" in refused(capsys, tmp_path, *begin, "--size", "1M")
    assert (tmp_path / "out.gguf").read_text() == "mine"


@pytest.mark.parametrize("content", ["", "short", written_text(1, 3)])
def test_too_short_a_text_is_refused_and_a_longer_one_then_taken(
    capsys: Capture, begin: list[str], tmp_path: Path, content: str
) -> None:
    (tmp_path / "short.txt").write_text(content)
    line = refused(capsys, tmp_path, *instead(begin, "--size", "1M", "--text", str(tmp_path / "short.txt")))
    assert "too short" in line


def test_too_short_a_judging_text_leaves_nothing_in_the_way(
    capsys: Capture, begin: list[str], tmp_path: Path
) -> None:
    (tmp_path / "short.txt").write_text("A few words that nobody calibrated on.")
    (tmp_path / "long.txt").write_text(written_text(2, 10))
    more = ["--size", "1M", "--held-out"]
    assert "too short for one window" in refused(capsys, tmp_path, *begin, *more, str(tmp_path / "short.txt"))
    assert main(["shrink", *begin, *more, str(tmp_path / "long.txt"), "--no-prune", "--json"]) == 0


def test_a_text_that_is_no_text_is_refused(capsys: Capture, begin: list[str], tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 400)
    line = refused(capsys, tmp_path, *instead(begin, "--size", "1M", "--text", str(tmp_path / "binary.txt")))
    assert "not UTF-8" in line


def changed(source: Path, path: Path, changes: dict[str, object]) -> Path:
    """The model with other metadata; None drops a pair."""
    header = read_header(local_file(source))
    tensors = [NewTensor(t.name, t.shape, TYPE_BY_NAME[t.type.name]) for t in header.tensors]
    layout = lay_out(header.metadata, changes, tensors)
    raw, old = bytearray(layout.size_bytes), source.read_bytes()
    raw[: len(layout.header)] = layout.header
    for tensor, at in zip(header.tensors, layout.offsets, strict=True):
        raw[at : at + tensor.size_bytes] = old[tensor.offset : tensor.offset + tensor.size_bytes]
    path.write_bytes(raw)
    return path


def test_a_model_without_tokenizer_is_refused(
    capsys: Capture, source: Path, begin: list[str], tmp_path: Path
) -> None:
    keys = [key for key in open_model(source).metadata if key.startswith("tokenizer.")]
    path = changed(source, tmp_path / "mute.gguf", dict.fromkeys(keys))
    line = refused(capsys, tmp_path, str(path), *begin[1:], "--size", "1M", status=1)
    assert "has no tokenizer" in line


def test_a_family_nobody_declared_is_refused(
    capsys: Capture, source: Path, begin: list[str], tmp_path: Path
) -> None:
    path = changed(source, tmp_path / "other.gguf", {"general.architecture": "mamba99"})
    assert "mamba99" in refused(capsys, tmp_path, str(path), *begin[1:], "--size", "1M", status=1)


@pytest.mark.parametrize("kind", ["missing", "noise", "folder", "empty model"])
def test_what_is_no_model_is_refused(capsys: Capture, begin: list[str], tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.gguf"
    if kind == "noise":
        path.write_bytes(b"\1\2\3\4" * 999)
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty model":
        writer = GGUFWriter(path, "llama")
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    assert "model.gguf" in refused(capsys, tmp_path, str(path), *begin[1:], "--size", "1M", status=1)


def test_findings_of_another_text_are_not_taken(
    capsys: Capture, begin: list[str], tmp_path: Path, text: Path
) -> None:
    work = ["--size", "1M", "--work", str(tmp_path / "w"), "--no-prune", "--json"]
    assert main(["shrink", *begin, *work]) == 0
    capsys.readouterr()
    (tmp_path / "other.txt").write_text(written_text(3, 130))
    other = ["--text", str(tmp_path / "other.txt"), "-o", str(tmp_path / "new.gguf")]
    assert "belongs to another run" in refused(capsys, tmp_path, *instead(begin, *work, *other))


def test_a_folder_with_other_things_is_no_work_folder(
    capsys: Capture, begin: list[str], tmp_path: Path
) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "diary").write_text("mine")
    line = refused(capsys, tmp_path, *begin, "--size", "1M", "--work", str(tmp_path / "w"))
    assert "holds other files" in line and (tmp_path / "w" / "diary").exists()
