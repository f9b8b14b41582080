"""sixgig.jobs.shrink: a smaller file from Python, with its losses; in silence, from threads, cancelled."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from sixgig.compress.curve import Kind
from sixgig.errors import BudgetError, Cancelled, ModelFileError, UsageError
from sixgig.jobs.shrink import ShrinkRequest, ShrinkResult, shrink
from sixgig.modelfile import open_model
from sixgig.modelfile.imatrix import read_imatrix
from tests.cli.shrink_source import SMALL, quicken, text
from tests.jobs.reporters import Recorder

__all__ = ["text"]

Tiny = Callable[..., Path]
SIZE = 600 << 10
FIGURES = ("perplexity", "kld_mean", "kld_p99", "kld_p999", "same_top1")


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        quicken(patch)
        yield


@pytest.fixture(scope="module")
def model(tiny: Tiny) -> Path:
    return tiny("llama", "F16", **SMALL)


@pytest.fixture(scope="module")
def made(model: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ShrinkResult, Recorder]:
    """A run in a thread, its findings kept beside the file."""
    folder, heard, found = tmp_path_factory.mktemp("made"), Recorder(), list[ShrinkResult]()

    def work() -> None:
        kept = folder / "work"
        found.append(shrink(model, folder / "o.gguf", text=text, size=SIZE, work=kept, reporter=heard))

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    return found[0], heard


def test_the_result_tells_of_the_file_and_its_rivals(
    made: tuple[ShrinkResult, Recorder], model: Path, text: Path
) -> None:
    result, _ = made
    output, plain, pruned = result.output, result.plain, result.pruned
    assert plain is not None and pruned is not None
    assert output.size_bytes == result.path.stat().st_size <= result.budget_bytes == SIZE
    assert result.source_bytes == model.stat().st_size and result.source_quantised == ()
    assert output == (pruned if output.kind is Kind.PRUNED else result.unpruned)
    assert (plain.kind, result.unpruned.kind, pruned.kind) == (Kind.PLAIN, Kind.UNPRUNED, Kind.PRUNED)
    assert sum(result.types.values()) == len(open_model(result.path).tensors)
    for file in (output, plain, result.unpruned, pruned):
        for name in FIGURES:
            interval = file.figures.intervals[name]
            assert interval.value == getattr(file.figures, name) >= interval.lower
    drawn = {(point.kind, point.label, point.size_bytes, point.kld_mean) for point in result.curve}
    judged = (plain, result.unpruned, pruned)
    assert drawn == {(file.kind, file.label, file.size_bytes, file.figures.kld_mean) for file in judged}
    assert all(point.kld_lower <= point.kld_mean <= point.kld_upper for point in result.curve)


def test_the_reporter_hears_all_and_notices_are_in_the_result(
    made: tuple[ShrinkResult, Recorder],
) -> None:
    result, heard = made
    assert heard.words("warn") == list(result.notices) and len(result.notices) >= 2
    phases = heard.words("progress")
    assert phases[:3] == ["looking for passages that recur", "calibrating", "trying types"]
    assert f"writing {result.path.name}" in phases and "loading" not in phases
    assert any(words.startswith("first recipe: ") for words in heard.words("say"))


def test_another_size_adds_to_the_curve_and_prints_nothing(
    capfd: pytest.CaptureFixture[str], made: tuple[ShrinkResult, Recorder], model: Path, text: Path
) -> None:
    first, _ = made
    folder, heard = first.path.parent, Recorder()
    kept = {"work": folder / "work", "prune": False, "imatrix": str(folder / "i.gguf")}
    second = shrink(str(model), str(folder / "p.gguf"), text=text, size=500 << 10, reporter=heard, **kept)  # type: ignore[arg-type]
    assert capfd.readouterr() == ("", "")
    assert "calibrating" not in heard.words("progress"), "known from the run before"
    assert second.output.size_bytes <= 500 << 10 and second.pruned is None
    assert set(first.curve) < set(second.curve)
    order = [(list(Kind).index(point.kind), point.size_bytes) for point in second.curve]
    assert order == sorted(order)
    assert read_imatrix(folder / "i.gguf").entries


class Countdown(Recorder):
    """Cancels its job where it looks for that the n-th time: in loading, too."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self._left = n

    def check(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.cancel()
        super().check()


def test_cancelled_again_and_again_it_leaves_nothing_half_written_and_ends_in_the_same_file(
    made: tuple[ShrinkResult, Recorder], model: Path, text: Path, tmp_path: Path
) -> None:
    out, heard, result = tmp_path / "o.gguf", list[str](), None
    times = 2
    while result is None:
        reporter = Countdown(times)
        try:
            result = shrink(model, out, text=text, size=SIZE, imatrix=tmp_path / "i.gguf", reporter=reporter)
        except Cancelled:
            heard += reporter.words("progress")[-1:]
            assert not (tmp_path / "i.gguf").exists()
            assert not out.exists() or out.read_bytes() == made[0].path.read_bytes()
            left = {path.name for path in tmp_path.iterdir()}
            assert left <= {"o.gguf", "o.gguf.work", "o.gguf.part", "o.gguf.part.json"}
            assert not list(tmp_path.rglob("candidate.gguf"))
        times *= 2
    assert len(set(heard)) >= 4, "it was cancelled in many phases"
    assert out.read_bytes() == made[0].path.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"o.gguf", "i.gguf"}
    assert result.output == made[0].output and result.curve == made[0].curve


@pytest.mark.parametrize("phase", ["calibrating", "looking what matters"])
def test_cancelled_from_another_thread_it_stops_where_it_is(
    model: Path, text: Path, tmp_path: Path, phase: str
) -> None:
    class Other(Recorder):
        def reached(self, label: str, fraction: float) -> None:
            if label.startswith(phase):
                thread = threading.Thread(target=self.cancel)
                thread.start()
                thread.join()

    heard = Other()
    with pytest.raises(Cancelled):
        shrink(model, tmp_path / "o.gguf", text=text, size=SIZE, prune=False, reporter=heard)
    assert heard.words("progress")[-1].startswith(phase)
    assert not (tmp_path / "o.gguf").exists()
    assert "the same command goes on from there" in heard.words("warn")[-1]


def test_what_cannot_be_is_refused_when_the_request_is_made() -> None:
    given: dict[str, Any] = {"model": "m.gguf", "output": "o.gguf", "text": "t.txt"}
    for name, value in (("size", -1), ("ram", 0), ("vram", -1), ("context", 0), ("threads", 0)):
        with pytest.raises(UsageError, match=f"{name} of {value} is not possible"):
            ShrinkRequest(**{**given, "size": SIZE, name: value})
    with pytest.raises(UsageError, match="no size was named"):
        ShrinkRequest(**given)


def test_errors_are_those_documented_and_leave_nothing(model: Path, text: Path, tmp_path: Path) -> None:
    short, out = tmp_path / "short.txt", tmp_path / "o.gguf"
    short.write_text("too short")
    for kind, words, asked in (
        (ModelFileError, "none.gguf", {"model": tmp_path / "none.gguf"}),
        (UsageError, "too short", {"text": short}),
        (UsageError, "cannot read", {"text": tmp_path / "none.txt"}),
        (UsageError, "is that small already", {"size": 1 << 30}),
        (UsageError, "no folder", {"output": tmp_path / "none" / "o.gguf"}),
        (UsageError, "llama.gguf exists", {"output": model}),
        (UsageError, "llama.gguf exists", {"output": model, "text": short, "model": tmp_path / "none.gguf"}),
        (UsageError, "cannot draw", {"plot": tmp_path / "p.pdf"}),
        (BudgetError, "cannot become as small", {"size": 0}),
        (BudgetError, "no weights fit", {"size": None, "ram": 1 << 20}),
    ):
        options: dict[str, Any] = {"model": model, "output": out, "text": text, "size": SIZE, **asked}
        with pytest.raises(kind, match=words):
            shrink(**options)
        assert [path.name for path in tmp_path.iterdir()] == ["short.txt"]


def test_the_result_is_frozen_and_its_docstring_names_every_argument(
    made: tuple[ShrinkResult, Recorder],
) -> None:
    with pytest.raises(FrozenInstanceError):
        made[0].budget_bytes = 1  # type: ignore[misc]
    assert list(inspect.signature(shrink).parameters)[:2] == ["model", "output"]
    documented = inspect.getdoc(shrink) or ""
    assert all(f"{field.name}:" in documented for field in fields(ShrinkRequest))
