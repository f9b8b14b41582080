"""sixgig.jobs.score: the figures of the verb and of the definition, from Python."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import numpy as np
import pytest

from bench.plain import PlainContext, Settings
from sixgig.cli.main import main
from sixgig.errors import BudgetError, Cancelled, ModelFileError, UsageError
from sixgig.evaluate import BaseFile
from sixgig.jobs.opening import demo_path
from sixgig.jobs.score import ScoreRequest, ScoreResult, score
from tests.jobs.reporters import Canceller, Recorder

Capture = pytest.CaptureFixture[str]
Tiny = Callable[..., Path]
CONTEXT = 64


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("This PEP proposes a syntax for what has none, and says why it should have one. " * 12)
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sixgig" / "references"


def test_figures_are_those_of_the_verb_and_two_runs_in_a_process_are_equal(
    capsys: Capture, text: Path, tiny: Tiny
) -> None:
    model, reference = tiny("qwen3moe", "Q4_0"), tiny("qwen3moe", "F16")
    first, second = (score(model, text=text, reference=reference, context=CONTEXT) for _ in range(2))
    arguments = ["score", str(model), "--text", str(text), "--reference", str(reference), "--context", "64"]
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert first.to_json() == second.to_json() == {key: document[key] for key in first.to_json()}
    assert first.window_tokens == document["window_tokens"] and list(first.notices) == document["notices"]
    assert first.divergence is not None and first.divergence.kld_mean == document["kld_mean"]
    assert first.intervals["perplexity"].lower < first.perplexity < (first.intervals["perplexity"].upper or 0)
    assert first.reference_stats is not None and first.reference_stats.peak_memory_bytes > 0
    assert second.reference_stats is None and second.base_path == first.base_path is not None
    assert str(second.base_path) == document["reference"]["log_probabilities"]


def test_perplexity_is_that_of_the_definition_by_the_stock_library(
    text: Path, tiny: Tiny, tmp_path: Path
) -> None:
    """Of each window the tokens after its middle are scored: llama.cpp's perplexity tool."""
    model, kept = tiny("llama", "F16"), tmp_path / "kept"
    made = score(model, text=text, windows=2, context=CONTEXT, save_reference=kept)
    with BaseFile(kept) as base:
        windows = base.tokens.tolist()
    losses = list[float]()
    for window in windows:
        with PlainContext(model, Settings(load_mode="none", context=CONTEXT)) as stock:
            scored = window[CONTEXT // 2 + 1 :]
            logits = stock.prefill(window[: CONTEXT // 2 + 1])
            for token in scored:
                wide = logits.astype(np.float64)
                losses.append(float(np.log(np.exp(wide - wide.max()).sum()) + wide.max() - wide[token]))
                logits = stock.decode(token)
    assert made.n_tokens == len(losses) == 2 * 31
    assert made.perplexity == pytest.approx(np.exp(np.mean(losses)), rel=1e-3)


def test_nothing_is_printed_and_the_reporter_hears_all(
    capfd: pytest.CaptureFixture[str], text: Path, tiny: Tiny
) -> None:
    heard = Recorder()
    models = {"reference": tiny("qwen3moe", "Q4_0"), "text": text, "context": CONTEXT}
    made = score(tiny("qwen3moe", "F16"), **models, reporter=heard)
    score(tiny("qwen3moe", "F16"), **models)
    assert capfd.readouterr() == ("", "")
    assert [words for words in heard.words("warn") if words in made.notices] == list(made.notices)
    assert len(made.notices) == 2 and "is quantised already" in made.notices[0]
    assert heard.words("progress") == ["loading", "tiny reads the text"] * 2
    assert len(heard.words("plan")) == 2 and "keeps its log-probabilities" in heard.words("say")[0]


def test_it_works_from_a_thread(text: Path) -> None:
    found = list[ScoreResult]()
    worker = threading.Thread(target=lambda: found.append(score(text=text, windows=1, context=CONTEXT)))
    worker.start()
    worker.join()
    here = score(text=text, windows=1, context=CONTEXT)
    assert [made.perplexity for made in found] == [here.perplexity]


@pytest.mark.parametrize("save", [True, False])
def test_cancelled_while_it_scores_it_leaves_no_file(
    text: Path, tmp_path: Path, own_cache: Path, save: bool
) -> None:
    folder = tmp_path / "kept" if save else own_cache
    folder.mkdir(parents=True)
    canceller, kept = Canceller("reads the text"), folder / "base" if save else None
    with pytest.raises(Cancelled):
        score(text=text, reference=demo_path(), save_reference=kept, context=CONTEXT, reporter=canceller)
    assert len(canceller.fractions) == 1 and 0 < canceller.fractions[0] < 1
    assert not list(folder.iterdir())
    again = score(text=text, reference=demo_path(), save_reference=kept, context=CONTEXT)
    assert again.divergence is not None and abs(again.divergence.kld_mean) < 1e-5


def test_cancelled_from_another_thread_while_it_loads(text: Path) -> None:
    class Waiting(Recorder):
        def reached(self, label: str, fraction: float) -> None:
            thread = threading.Thread(target=self.cancel)
            thread.start()
            thread.join()

    heard = Waiting()
    with pytest.raises(Cancelled):
        score(demo_path(), text=text, reporter=heard)
    assert heard.words("progress") == ["loading"]


def test_what_cannot_be_is_refused_when_the_request_is_made(text: Path, tmp_path: Path) -> None:
    for name, value in (
        ("windows", 0),
        ("context", 2),
        ("ubatch", 0),
        ("threads", 0),
        ("ram", 0),
        ("vram", -1),
    ):
        with pytest.raises(UsageError, match=f"{name} of {value} is not possible"):
            ScoreRequest("model.gguf", text=text, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no text to score on"):
        ScoreRequest("model.gguf", reference="other.gguf")
    with pytest.raises(UsageError, match="no folder"):
        ScoreRequest("model.gguf", text=text, save_reference=tmp_path / "none" / "file")


def test_errors_are_those_documented(text: Path, tmp_path: Path, tiny: Tiny) -> None:
    with pytest.raises(ModelFileError):
        score(tmp_path / "none.gguf", text=text)
    with pytest.raises(UsageError, match="cannot read"):
        score(text=tmp_path / "none.txt")
    with pytest.raises(BudgetError):
        score(text=text, ram=1 << 20)
    with pytest.raises(ModelFileError, match="the vocabularies differ"):
        score(text=text, reference=tiny("qwen3moe", "Q4_0"), context=CONTEXT)


def test_the_result_is_frozen_and_its_docstring_names_every_argument(text: Path) -> None:
    made = score(text=text, windows=1, context=CONTEXT)
    with pytest.raises(FrozenInstanceError):
        made.perplexity = 1.0  # type: ignore[misc]
    assert (made.base_path, made.reference_stats, made.stats.hit_rate) == (None, None, None)
    assert len(repr(made)) < 500  # what a notebook shows
    assert made.stats.peak_memory_bytes > 1 << 20 and made.stats.load_s > 0
    assert next(iter(inspect.signature(score).parameters)) == "model"
    documented = inspect.getdoc(score) or ""
    assert all(f"{field.name}:" in documented for field in fields(ScoreRequest))
