"""`sixgig shrink` on tiny models: what it makes, what it refuses, and what a kill leaves."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from sixgig.cli import shrinking
from sixgig.cli.main import main
from sixgig.compress import outcome, shrinker, types
from sixgig.modelfile import TYPE_BY_NAME, local_file, open_model, read_header
from sixgig.modelfile.writer import NewTensor, lay_out
from tests.paged.engines import logits_of, open_paged, share_of_experts, stock_logits

Capture = pytest.CaptureFixture[str]
Tiny = Callable[..., Path]
ROOT = Path(__file__).parents[2]
KEYS = ("output", "size_bytes", "bits_per_weight", "kld_mean", "baselines", "equal_bytes")
WORDS = ("the", "and", "in", "a", "thing", "other", "no", "read", "write", "shape", "ring", "one")
SMALL = {"n_layers": 1, "n_experts": 4}
SIZE, SIZES = "1500K", {"qwen3moe": 1500 << 10, "llama": 600 << 10}


def quicken(patch: pytest.MonkeyPatch) -> None:
    """Few windows, groups and types, so that a run takes seconds."""
    for name, count in (("CALIBRATION", 2), ("SEARCH", 1), ("JUDGING", 1)):
        patch.setattr(shrinker, f"{name}_WINDOWS", count)
    patch.setattr(shrinker, "WINDOWS_HELD", 1)
    patch.setattr(shrinker, "GROUPS_HELD", 3)
    patch.setattr(shrinking, "_ROUNDS", ((1 << 30, 1),))
    patch.setattr(types, "_SUPER_BLOCKS", ("Q2_K", "Q4_K", "Q6_K"))
    patch.setattr(types, "_SMALL_BLOCKS", ("Q4_0", "Q8_0"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)
    monkeypatch.setenv("COLUMNS", "200")


def written_text(seed: int, n_paragraphs: int) -> str:
    draw = random.Random(seed)
    lines = (
        " ".join(draw.choice(WORDS) + str(draw.randrange(99)) for _ in range(60)) for _ in range(n_paragraphs)
    )
    return "\n\n".join(lines)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(written_text(0, 130))
    return path


@pytest.fixture(scope="module")
def source(tiny: Tiny) -> Path:
    return tiny("qwen3moe", "F16", **SMALL)


Run = tuple[dict[str, Any], Path, Path]


@pytest.fixture(scope="module")
def made(tiny: Tiny, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Run]]:
    """`made("llama")`: a run's document, its output and its folder; each made once."""
    runs: dict[str, Run] = {}

    def make(architecture: str) -> Run:
        if architecture not in runs:
            folder = tmp_path_factory.mktemp(architecture)
            with pytest.MonkeyPatch.context() as patch:
                quicken(patch)
                runs[architecture] = shrunk(architecture, folder)
        return runs[architecture]

    def shrunk(architecture: str, folder: Path) -> Run:
        out, said = folder / "out.gguf", folder / "said.json"
        command = ["shrink", str(tiny(architecture, "F16", **SMALL)), "-o", str(out)]
        more = ["--size", str(SIZES[architecture]), "--text", str(text), "--json"]
        more += ["--imatrix", str(folder / "i.gguf")]
        with open(said, "w") as file, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", file)
            assert main(command + more) == 0
        return json.loads(said.read_text()), out, folder

    yield make


@pytest.mark.parametrize("architecture", ["qwen3moe", "llama"])
def test_the_document_and_the_file_agree(made: Callable[[str], Run], text: Path, architecture: str) -> None:
    document, out, folder = made(architecture)
    assert all(key in document for key in KEYS)
    size = out.stat().st_size
    assert document["output"] == str(out) and document["size_bytes"] == size <= SIZES[architecture]
    assert size > 0.8 * SIZES[architecture], "what may be used is used"
    model = open_model(out)
    elements = sum(np.prod(tensor.shape) for tensor in model.tensors)
    assert document["bits_per_weight"] == pytest.approx(8 * size / elements)
    assert 0 <= document["kld_mean"] < 1
    assert sum(document["types"].values()) == len(model.tensors)
    for row in document["baselines"]:
        assert row["size_bytes"] <= size and row["label"].startswith("all ")
    rows = [row for row in document["equal_bytes"].values() if row is not None]
    assert document["measured"] in rows
    assert all(row["size_bytes"] <= SIZES[architecture] for row in rows)
    assert document["equal_bytes"]["pruned"] or architecture == "llama"
    assert sorted(path.name for path in folder.iterdir()) == ["i.gguf", "out.gguf", "said.json"]


def test_the_file_says_how_it_was_made_and_lies_on_pages(made: Callable[[str], Run], source: Path) -> None:
    _, out, folder = made("qwen3moe")
    metadata = open_model(out).metadata
    assert metadata.text("sixgig.shrink.source") == source.name
    assert metadata.text("sixgig.shrink.source_bytes") == str(source.stat().st_size)
    assert metadata.integer("general.quantization_version") == 2
    assert all(tensor.data_offset % 4096 == 0 for tensor in GGUFReader(out).tensors)
    assert str(folder) not in out.read_bytes()[:100_000].decode("latin-1")


def test_importances_are_written(made: Callable[[str], Run]) -> None:
    _, out, folder = made("qwen3moe")
    matrices = {tensor.name for tensor in open_model(out).routed_experts()}
    found = {tensor.name for tensor in GGUFReader(folder / "i.gguf").tensors}
    assert {f"{name}.in_sum2" for name in matrices} <= found


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_picture_is_drawn(capsys: Capture, tiny: Tiny, text: Path, tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib")
    command = ["shrink", str(tiny("llama", "F16", **SMALL)), "-o", str(tmp_path / "o.gguf")]
    more = ["--size", str(SIZES["llama"]), "--text", str(text), "--plot", str(tmp_path / f"p.{ending}")]
    assert main([*command, *more]) == 0
    start = (tmp_path / f"p.{ending}").read_bytes()[:400]
    assert start.startswith(b"\x89PNG") if ending == "png" else b"<svg" in start or b"<?xml" in start


@pytest.mark.parametrize("architecture", ["qwen3moe", "llama"])
def test_the_file_gives_the_same_logits_in_the_stock_engine(
    made: Callable[[str], Run], architecture: str
) -> None:
    _, out, _ = made(architecture)
    stock = stock_logits(out)
    assert np.isfinite(stock).all()
    if architecture == "llama":
        return
    with open_paged(out, share_of_experts(out, 0.3)) as engine:
        assert np.array_equal(logits_of(engine), stock)


def test_where_pruning_measures_better_the_pruned_file_is_kept(
    capsys: Capture, source: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, try_out = tmp_path / "out.gguf", shrinker.Shrinker.try_out

    def favouring(self: shrinker.Shrinker, label: str, *rest: Any) -> shrinker.Candidate:
        tried = try_out(self, label, *rest)
        better = replace(tried.figures, kld_mean=0.0)
        return replace(tried, figures=better) if label == "3 of 4 experts" else tried

    monkeypatch.setattr(shrinker.Shrinker, "try_out", favouring)
    command = ["shrink", str(source), "-o", str(out), "--size", "1M", "--text", str(text), "--json"]
    assert main(command) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["measured"] == document["equal_bytes"]["pruned"] != document["equal_bytes"]["unpruned"]
    assert document["measured"]["label"] == "3 of 4 experts"
    assert document["size_bytes"] == out.stat().st_size <= 1 << 20
    assert open_model(out).n_experts == 3
    with open_paged(out, share_of_experts(out, 0.5)) as engine:
        assert np.array_equal(logits_of(engine), stock_logits(out))


def test_people_get_a_table(capsys: Capture, tiny: Tiny, text: Path, tmp_path: Path) -> None:
    command = ["shrink", str(tiny("llama", "F16", **SMALL)), "-o", str(tmp_path / "o.gguf")]
    assert main([*command, "--size", str(SIZES["llama"]), "--text", str(text), "--no-prune"]) == 0
    said = capsys.readouterr().out
    assert "this file" in said and "KL divergence" in said and "Nothing was pruned." in said


def test_a_memory_to_run_in_stands_for_a_size(
    capsys: Capture, source: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shrinking, "room_for_weights", lambda model, task, budgets: 1500 << 10)
    command = ["shrink", str(source), "-o", str(tmp_path / "o.gguf"), "--ram", "900M", "--text", str(text)]
    assert main([*command, "--json", "--no-prune"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["budget_bytes"] == 1500 << 10
    assert "left for weights" in captured.err


def test_a_kept_work_folder_serves_another_size(
    capsys: Capture, source: Path, text: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    begin = ["shrink", str(source), "--text", str(text), "--work", str(work), "--json", "--no-prune"]
    assert main([*begin, "-o", str(tmp_path / "a.gguf"), "--size", SIZE]) == 0
    stamps = {path.name: path.stat().st_mtime_ns for path in work.iterdir() if path.suffix == ".logits"}
    assert main([*begin, "-o", str(tmp_path / "b.gguf"), "--size", "1M"]) == 0
    assert (tmp_path / "b.gguf").stat().st_size <= 1 << 20 < (tmp_path / "a.gguf").stat().st_size
    for name, stamp in stamps.items():
        assert (work / name).stat().st_mtime_ns == stamp, "not computed again"
    assert main([*begin, "-o", str(tmp_path / "a.gguf"), "--size", "1M"]) == 0, "its own output is replaced"
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    capsys.readouterr()


DRIVER = """
import os, signal, sys
import pytest
from pathlib import Path
from sixgig.cli.main import main
from sixgig.compress import write as writing
from tests.cli.test_cli_shrink import quicken

source, text, out, size = sys.argv[1:5]
quicken(pytest.MonkeyPatch())
writing.SYNC_S, writing.CHUNK_ELEMENTS = 0.0, 256 * 64

def killing(name, count, when, target):
    real, left = getattr(os, name), [int(count)]
    def call(*arguments, **options):
        if not target or str(arguments[-1]) == target:
            left[0] -= 1
        if left[0] == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if left[0] == 0 and when == "amid":
            real(arguments[0], arguments[1][:100], arguments[2])
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments, **options)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(os, name, call)

killed, statuses = 0, []
for point in [*sys.argv[5:], ""]:
    child = os.fork()
    if child == 0:
        if point:
            name, count, when, *target = point.split(",")
            killing(name, count, when, out if target else "")
        os._exit(main(["shrink", source, "-o", out, "--size", size, "--text", text, "--json"]))
    status = os.waitpid(child, 0)[1]
    statuses.append(status)
    if status == 0:
        break
print("statuses", statuses)
"""


def killed_at(source: Path, text: Path, out: Path, *points: str) -> list[int]:
    """Runs one after another, each killed at its point, the last not at all; their wait statuses."""
    command = [sys.executable, "-c", DRIVER, str(source), str(text), str(out), SIZE, *points]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, timeout=110, capture_output=True, text=True, env=environment)
    assert "statuses" in done.stdout, done.stderr
    found: list[int] = json.loads(done.stdout.rpartition("statuses")[2])
    assert found[-1] == 0, done.stderr
    return found


def test_killed_again_and_again_it_ends_in_the_same_file(
    made: Callable[[str], Run], source: Path, text: Path, tmp_path: Path
) -> None:
    """While calibrating, storing predictions, disturbing, trying, writing, and between file and note."""
    _, whole, _ = made("qwen3moe")
    out = tmp_path / "out.gguf"
    points = [
        "replace,2,before",
        "replace,3,after",
        "replace,5,before",
        "pwrite,9,amid",
        "replace,30,after",
        "replace,1,before,out",
        "replace,1,after,out",
    ]
    statuses = killed_at(source, text, out, *points)
    assert statuses[:-1] == [9] * len(points)
    assert out.read_bytes() == whole.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name[0] != "."] == ["out.gguf"]


def refused(capsys: Capture, folder: Path, *arguments: str) -> str:
    """One line of error, nothing on stdout, and no output or work left; the line."""
    before = sorted(path.name for path in folder.iterdir())
    assert main(["shrink", *arguments]) == 1
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.strip()]
    assert captured.out == "" and "Traceback" not in captured.err
    assert sum(line.startswith("error: ") for line in lines) == 1 and lines[-1].startswith("error: ")
    assert sorted(path.name for path in folder.iterdir()) == before
    return lines[-1]


@pytest.fixture
def begin(source: Path, text: Path, tmp_path: Path) -> list[str]:
    return [str(source), "--text", str(text), "-o", str(tmp_path / "out.gguf")]


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
    assert words in refused(capsys, tmp_path, *begin, *filled)


def test_the_smallest_size_named_is_possible(capsys: Capture, begin: list[str], tmp_path: Path) -> None:
    line = refused(capsys, tmp_path, *begin, "--size", "100K")
    size = line.rpartition("--size ")[2].split()[0]
    assert main(["shrink", *begin, "--size", size, "--no-prune", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size_bytes"] <= int(size[:-1]) << 20


def test_a_size_just_below_the_smallest_is_refused(
    capsys: Capture, begin: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = outcome.Shrinker.smallest_bytes
    monkeypatch.setattr(outcome.Shrinker, "smallest_bytes", lambda *a: sizes.append(real(*a)) or sizes[-1])
    refused(capsys, tmp_path, *begin, "--size", "1K")
    assert "cannot become as small" in refused(capsys, tmp_path, *begin, "--size", str(sizes[0] - 1))


def test_a_full_disk_is_told_before_anything_is_computed(
    capsys: Capture, begin: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(outcome.shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
    line = refused(capsys, tmp_path, *begin, "--size", "1M")
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
    line = refused(capsys, tmp_path, *begin, "--size", "1M", "--text", str(tmp_path / "short.txt"))
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
    line = refused(capsys, tmp_path, *begin, "--size", "1M", "--text", str(tmp_path / "binary.txt"))
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
    line = refused(capsys, tmp_path, str(path), *begin[1:], "--size", "1M")
    assert "has no tokenizer" in line


def test_a_family_nobody_declared_is_refused(
    capsys: Capture, source: Path, begin: list[str], tmp_path: Path
) -> None:
    path = changed(source, tmp_path / "other.gguf", {"general.architecture": "mamba99"})
    assert "mamba99" in refused(capsys, tmp_path, str(path), *begin[1:], "--size", "1M")


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
    assert "model.gguf" in refused(capsys, tmp_path, str(path), *begin[1:], "--size", "1M")


def test_findings_of_another_text_are_not_taken(
    capsys: Capture, begin: list[str], tmp_path: Path, text: Path
) -> None:
    work = ["--size", "1M", "--work", str(tmp_path / "w"), "--no-prune", "--json"]
    assert main(["shrink", *begin, *work]) == 0
    capsys.readouterr()
    (tmp_path / "other.txt").write_text(written_text(3, 130))
    other = ["--text", str(tmp_path / "other.txt"), "-o", str(tmp_path / "new.gguf")]
    assert "belongs to another run" in refused(capsys, tmp_path, *begin, *work, *other)


def test_a_folder_with_other_things_is_no_work_folder(
    capsys: Capture, begin: list[str], tmp_path: Path
) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "diary").write_text("mine")
    line = refused(capsys, tmp_path, *begin, "--size", "1M", "--work", str(tmp_path / "w"))
    assert "holds other files" in line and (tmp_path / "w" / "diary").exists()
