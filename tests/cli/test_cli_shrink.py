"""`sixgig shrink` on tiny models: what it makes, what it refuses, and what a kill leaves."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader

from sixgig.cli.main import main
from sixgig.compress import shrinker
from sixgig.compress.measuring import Figures
from sixgig.jobs import shrink
from sixgig.modelfile import open_model
from sixgig.planning import MEASURED, EngineBytes
from sixgig.pruning.proposals import FewerExperts
from tests.cli.shrink_source import SMALL, Tiny, quicken
from tests.paged.engines import logits_of, open_paged, share_of_experts, stock_logits

pytestmark = pytest.mark.usefixtures("quick")

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]
KEYS = ("output", "size_bytes", "bits_per_weight", "kld_mean", "baselines", "equal_bytes")
SIZE, SIZES = "1500K", {"qwen3moe": 1500 << 10, "llama": 600 << 10}
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
        assert 0.95 * size <= row["size_bytes"] <= size and row["label"].startswith("all ")
        assert row["size_ratio"] == pytest.approx(row["size_bytes"] / size)
    rows = [row for row in document["equal_bytes"].values() if row is not None]
    assert document["measured"] in rows
    assert all(row["size_bytes"] <= SIZES[architecture] for row in rows)
    assert document["equal_bytes"]["pruned"] or architecture == "llama"
    assert sorted(path.name for path in folder.iterdir()) == ["i.gguf", "out.gguf", "said.json"]


def test_the_file_says_how_it_was_made_and_lies_on_pages(made: Callable[[str], Run], source: Path) -> None:
    document, out, folder = made("qwen3moe")
    metadata = open_model(out).metadata
    cut = document["measured"]["label"] if document["measured"] == document["equal_bytes"]["pruned"] else None
    assert metadata.text("sixgig.shrink.structure") == (cut or "whole"), "not by which costs it was chosen"
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

    def favouring(self: shrinker.Shrinker, variant: shrinker.Variant, *rest: Any) -> Figures:
        tried = try_out(self, variant, *rest)
        return replace(tried, kld_mean=0.0) if variant.cut == FewerExperts(3, 4) else tried

    monkeypatch.setattr(shrinker.Shrinker, "try_out", favouring)
    command = ["shrink", str(source), "-o", str(out), "--size", "1M", "--text", str(text), "--json"]
    assert main(command) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["measured"] == document["equal_bytes"]["pruned"] != document["equal_bytes"]["unpruned"]
    assert document["measured"]["label"] == "3 of 4 experts"
    assert document["size_bytes"] == out.stat().st_size <= 1 << 20
    assert open_model(out).n_experts == 3
    assert open_model(out).metadata.text("sixgig.shrink.structure") == "3 of 4 experts"
    with open_paged(out, share_of_experts(out, 0.5)) as engine:
        assert np.array_equal(logits_of(engine), stock_logits(out))


def test_every_figure_has_its_interval_and_its_tokens(made: Callable[[str], Run]) -> None:
    """Judged on the 255 tokens of one window: 3,000 are wanted, and the user reads that too."""
    document, _, _ = made("qwen3moe")
    assert document["n_tokens_wanted"] == 3000
    rows = [document["measured"], *document["baselines"], *filter(None, document["equal_bytes"].values())]
    for row in rows:
        assert (row["n_tokens"], row["n_windows"]) == (255, 1)
        for name in ("perplexity", "kld_mean", "kld_p99", "kld_p999", "same_top1"):
            lower, upper = row["intervals"][name]
            assert lower <= row[name] and (upper is None or upper >= row[name])
        assert row["intervals"]["kld_p999"][1] is None, "255 tokens say nothing of one in a thousand"
    warned = [
        notice for notice in document["notices"] if "the result is judged on 255 tokens in 1 " in notice
    ]
    assert (
        len(warned) == 1 and "3000 tokens in 8 windows are wanted" in warned[0] and "--held-out" in warned[0]
    )


def test_a_quantised_source_is_named_in_the_output_the_document_and_the_file(
    capsys: Capture, tiny: Tiny, text: Path, tmp_path: Path
) -> None:
    """Errors are measured from it, not from the weights it was made of."""
    source, out = tiny("llama", "Q8_0", **SMALL), tmp_path / "o.gguf"
    command = ["shrink", str(source), "-o", str(out), "--size", "400K", "--text", str(text), "--no-prune"]
    assert main([*command, "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["source_quantised"] == ["Q8_0"]
    words = "warning: tiny is quantised already (Q8_0): divergences are measured from it"
    assert words in captured.err and any(notice.startswith(words) for notice in document["notices"])
    assert open_model(out).metadata.text("sixgig.shrink.source_quantised") == "Q8_0"


def test_a_source_of_plain_numbers_is_not_called_quantised(made: Callable[[str], Run]) -> None:
    document, out, _ = made("llama")
    assert document["source_quantised"] == []
    assert not any("quantised already" in notice for notice in document["notices"])
    assert open_model(out).metadata.text("sixgig.shrink.source_quantised") == "no"


def test_a_log_has_a_line_for_each_phase_and_a_table_that_says_what_is_uncertain(
    capsys: Capture, tiny: Tiny, text: Path, tmp_path: Path
) -> None:
    command = ["shrink", str(tiny("llama", "F16", **SMALL)), "-o", str(tmp_path / "o.gguf"), "--no-prune"]
    assert main([*command, "--size", str(SIZES["llama"]), "--text", str(text)]) == 0
    captured = capsys.readouterr()
    phases = [line for line in captured.err.splitlines() if line.endswith(" ...")]
    ordered = ["calibrating", "trying types", "the source on the search text", "looking what matters"]
    ordered += ["writing: by costs", "measuring: by costs", "writing o.gguf", "judging o.gguf"]
    places = [phases.index(f"{phase} ...") for phase in ordered]
    assert places == sorted(places)
    assert " nats on 255 tokens, " in captured.err and "first recipe: " in captured.err
    assert "255 tokens in 1 window" in captured.out and "±" in captured.out and "≥" in captured.out
    assert "smaller than this file" in captured.out and "too few windows" in captured.out
    assert "warning: the result is judged on 255 tokens" in captured.out


def test_people_get_a_table(capsys: Capture, tiny: Tiny, text: Path, tmp_path: Path) -> None:
    command = ["shrink", str(tiny("llama", "F16", **SMALL)), "-o", str(tmp_path / "o.gguf")]
    assert main([*command, "--size", str(SIZES["llama"]), "--text", str(text), "--no-prune"]) == 0
    said = capsys.readouterr().out
    assert "this file" in said and "KL divergence" in said and "Nothing was pruned." in said


def test_a_memory_to_run_in_stands_for_a_size(
    capsys: Capture, source: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def room(model: Any, task: Any, budgets: Any, measured: EngineBytes) -> int:
        asked.append(measured)
        return 1500 << 10

    monkeypatch.setattr(shrink, "room_for_weights", room)
    command = ["shrink", str(source), "-o", str(tmp_path / "o.gguf"), "--ram", "4G", "--text", str(text)]
    assert main([*command, "--json", "--no-prune"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["budget_bytes"] == 1500 << 10
    assert "left for weights" in captured.err
    assert asked[0].source is MEASURED and asked[0].context_bytes > 0, "the engine said what a context takes"


def test_a_kept_work_folder_serves_another_size(
    capsys: Capture, source: Path, text: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    begin = ["shrink", str(source), "--text", str(text), "--work", str(work), "--json", "--no-prune"]
    assert main([*begin, "-o", str(tmp_path / "a.gguf"), "--size", SIZE]) == 0
    stamps = {path: path.stat().st_mtime_ns for path in work.rglob("*.logits")}
    assert len(stamps) == 2
    assert main([*begin, "-o", str(tmp_path / "b.gguf"), "--size", "1M"]) == 0
    assert (tmp_path / "b.gguf").stat().st_size <= 1 << 20 < (tmp_path / "a.gguf").stat().st_size
    for path, stamp in stamps.items():
        assert path.stat().st_mtime_ns == stamp, "not computed again"
    assert main([*begin, "-o", str(tmp_path / "a.gguf"), "--size", "1M"]) == 0, "its own output is replaced"
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    capsys.readouterr()


DRIVER = """
import os, signal, sys
import pytest
from pathlib import Path
from sixgig.cli.main import main
from sixgig.compress import write as writing
from tests.cli.shrink_source import quicken

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
