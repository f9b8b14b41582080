import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sixgig.cli.main import main
from sixgig.cli.reporter import TerminalReporter
from sixgig.errors import UsageError
from sixgig.evaluate import BaseFile
from sixgig.inference.request import PagingOptions
from sixgig.jobs import references, window_logits
from sixgig.jobs.opening import Opening, demo_path
from sixgig.jobs.texts import read_text
from sixgig.jobs.window_logits import fitting_ubatch
from sixgig.modelfile import open_model
from tests.tiny import vocabulary
from tests.tiny.edited import other_weights
from tests.tiny.models import build

Capture = pytest.CaptureFixture[str]
Tiny = Callable[..., Path]
KEYS = (
    "perplexity",
    "perplexity_error",
    "kld_mean",
    "kld_p99",
    "kld_p999",
    "kld_max",
    "same_top1",
    "n_tokens",
)
CONTEXT = ["--context", "64"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("This PEP proposes a syntax for what has none, and says why it should have one. " * 12)
    return str(path)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sixgig" / "references"


def scored(capsys: Capture, *arguments: str) -> dict[str, Any]:
    assert main(["score", *arguments, *CONTEXT, "--json"]) == 0, capsys.readouterr().err
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["within_budget"] and document["peak_memory_bytes"] > 0
    assert all(key in document for key in KEYS)
    return document


def test_perplexity_alone(capsys: Capture, text: str) -> None:
    made = scored(capsys, str(demo_path()), "--text", text, "--windows", "2")
    assert made["n_tokens"] == 2 * 31 and made["n_windows"] == 2 and made["window_tokens"] == 64
    assert 1 < made["perplexity"] < 1000 and made["perplexity_error"] > 0
    assert made["kld_mean"] is None and made["same_top1"] is None and made["reference"] is None


def test_a_model_against_another_and_again_from_the_cache(
    capsys: Capture, text: str, tiny: Tiny, own_cache: Path
) -> None:
    models = str(tiny("qwen3moe", "Q4_0")), "--reference", str(tiny("qwen3moe", "F16")), "--text", text
    first = scored(capsys, *models)
    assert 0 < first["kld_mean"] < first["kld_p99"] <= first["kld_max"]
    assert 0 < first["same_top1"] <= 1
    assert first["reference"]["opened"]["within_budget"]
    assert Path(first["reference"]["log_probabilities"]).parent == own_cache
    again = scored(capsys, *models)
    assert again["reference"]["opened"] is None
    assert {key: again[key] for key in KEYS} == {key: first[key] for key in KEYS}
    fewer = scored(capsys, *models, "--windows", "1")
    assert fewer["reference"]["opened"] is None and fewer["n_windows"] == 1 < first["n_windows"]


def test_paged_figures_are_those_of_the_whole_model(
    capsys: Capture, text: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, kept = str(tiny("qwen3moe", "Q4_0")), str(tmp_path / "whole.logits")
    whole = scored(capsys, model, "--text", text, "--save-reference", kept)
    paging = PagingOptions(always=True, cache_bytes=1 << 20)
    monkeypatch.setattr(window_logits, "Opening", partial(Opening, paging=paging))
    paged = scored(capsys, model, "--reference", kept)
    assert (whole["mode"], paged["mode"]) == ("unpaged", "paged") and paged["counters"]["evictions"] > 0
    assert paged["perplexity"] == whole["perplexity"] and paged["same_top1"] == 1
    assert abs(paged["kld_mean"]) < 1e-5


def test_a_stored_reference_needs_no_text(capsys: Capture, text: str, tmp_path: Path) -> None:
    kept = str(tmp_path / "demo.logits")
    made = scored(capsys, "--text", text, "--save-reference", kept)
    with BaseFile(Path(kept)) as base:
        assert base.shape.context == 64 and base.shape.n_windows == made["n_windows"]
    against = scored(capsys, "--reference", kept)
    assert against["perplexity"] == made["perplexity"] and abs(against["kld_mean"]) < 1e-5
    assert main(["score", "--reference", kept, "--text", text]) == 0
    out = capsys.readouterr().out
    assert (
        "perplexity" in out and "same likeliest token" in out and "100.000%" in out and "peak memory" in out
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "there is no text to score on"),
        (["--reference", "DEMO"], "there is no text to score on"),
        (["--text", "/no/such/text"], "cannot read"),
        (["--text", "SHORT"], "too short for one window"),
        (["--text", "TEXT", "--windows", "0"], "--windows of 0"),
        (["--text", "TEXT", "--context", "2"], "--context of 2"),
        (["--text", "TEXT", "--context", "-5"], "--context of -5"),
        (["--text", "TEXT", "--ubatch", "0"], "--ubatch of 0"),
        (["--text", "TEXT", "--reference", "/no/such/model.gguf"], "/no/such/model.gguf"),
        (["--text", "TEXT", "--save-reference", "/no/such/folder/x"], "no folder /no/such/folder"),
        (["--text", "TEXT", "--save-reference", "TEXT"], "holds no stored log-probabilities"),
        (["--reference", "BASE", "--save-reference", "x"], "the reference is stored already"),
        (["--reference", "BASE", "--context", "32"], "its windows have 64 tokens"),
        (["--reference", "BASE", "--text", "OTHER"], "of another text"),
        (["--reference", "OTHERBASE"], "the vocabularies differ"),
        (["--reference", "TINY", "--text", "TEXT"], "the vocabularies differ"),
    ],
)
def test_bad_values_are_refused(
    capsys: Capture, text: str, tmp_path: Path, tiny: Tiny, arguments: list[str], words: str
) -> None:
    places = {"TEXT": text, "DEMO": str(demo_path()), "TINY": str(tiny("qwen3moe", "Q4_0"))}
    for name, content in (("SHORT", "Too short."), ("OTHER", "Other words, many of them. " * 40)):
        (tmp_path / name).write_text(content)
        places[name] = str(tmp_path / name)
    for name, model in (("BASE", places["DEMO"]), ("OTHERBASE", places["TINY"])):
        if name in arguments:
            places[name] = str(tmp_path / name)
            scored(capsys, model, "--text", text, "--save-reference", places[name])
    status = (
        1
        if words in ("cannot read", "/no/such/model.gguf", "of another text", "the vocabularies differ")
        else 2
    )
    assert main(["score", str(demo_path()), *(places.get(word, word) for word in arguments)]) == status
    captured = capsys.readouterr()
    assert captured.out == "" and words in captured.err.splitlines()[-1]


def test_models_that_tokenize_differently_are_refused(
    capsys: Capture, text: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "_MERGES", vocabulary._MERGES[::-1])
    other = str(build("qwen3moe", tmp_path / "other.gguf"))
    models = ["score", other, "--reference", str(tiny("qwen3moe", "Q4_0"))]
    assert main([*models, "--text", text, *CONTEXT]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "a model that tokenizes it differently" in last and "in the file" in last


def test_a_full_disk_is_told_before_anything_is_computed(
    capsys: Capture, text: str, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(references.shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
    reference = ["--reference", str(demo_path())]
    assert main(["score", str(demo_path()), *reference, "--text", text, *CONTEXT]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "no room in" in last and "1.00 MiB free" in last and "--windows" in last
    assert not list(own_cache.iterdir())


def test_a_reference_is_of_the_weights_it_was_computed_with(tmp_path: Path, tiny: Tiny) -> None:
    path, cache = Path(shutil.copy2(tiny("llama"), tmp_path / "m.gguf")), references.ReferenceCache(tmp_path)

    def place() -> Path:
        return cache.path(open_model(path), "text", 64, None)

    before = place()
    with other_weights(path):
        assert place() != before
    assert place() == before
    path = path.rename(tmp_path / "n.gguf")
    assert place() == before, "a model that was moved is the same"


def test_the_cache_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "KEPT_BYTES", 250)
    cache = references.ReferenceCache(tmp_path)
    for number in range(4):
        path = tmp_path / f"{number}.logits"
        path.write_bytes(bytes(100))
        references.os.utime(path, (number, number))
    for name in (".0.logits-old", ".1.logits-new"):
        (tmp_path / name).write_bytes(b"unfinished")
    references.os.utime(tmp_path / ".0.logits-old", (0, 0))
    cache.evict()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".1.logits-new", "2.logits", "3.logits"]


def test_a_ubatch_is_half_a_window_or_what_the_budget_allows() -> None:
    assert fitting_ubatch(512, 4096, 1 << 32) == 256
    assert fitting_ubatch(8192, 4096, 1 << 32) == 512
    assert fitting_ubatch(512, 248_000, 6 << 30) == 256
    assert fitting_ubatch(512, 248_000, 2 << 30) == 64
    assert fitting_ubatch(512, 248_000, 1 << 28) == 16


def test_text_is_read_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"a\r\nb\n\n")
    assert read_text(path) == "a\r\nb\n"
    path.write_bytes(b"a\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_text(path)


def test_each_figure_comes_with_its_interval_and_few_tokens_with_the_number_wanted(
    capsys: Capture, text: str, tiny: Tiny
) -> None:
    models = [str(tiny("qwen3moe", "Q4_0")), "--reference", str(tiny("qwen3moe", "F16")), "--text", text]
    made = scored(capsys, *models)
    for name, (lower, upper) in made["intervals"].items():
        assert lower <= made[name] and (upper is None or made[name] <= upper)
    assert {"perplexity", "kld_mean", "kld_p999", "same_top1"} <= set(made["intervals"])
    assert made["intervals"]["kld_p999"][1] is None and made["n_tokens_wanted"] == 3000
    words = (
        f"warning: scored on {made['n_tokens']} tokens in {made['n_windows']} windows, too few to rely on: "
        "3000 tokens in 8 windows are wanted; give a text of "
    )
    assert [notice[: len(words)] for notice in made["notices"]] == [words]
    assert main(["score", *models, *CONTEXT]) == 0
    said = capsys.readouterr()
    assert words in said.err
    rows = {line.split("│")[1].strip(): line for line in said.out.splitlines() if "│" in line}
    for name in ("perplexity", "divergence from it (KL, nats), mean", "99%", "same likeliest token"):
        assert " to " in rows[name]
    assert "≥" in rows["99.9%"]


def test_the_table_counts_one_window_and_has_no_negative_zero(capsys: Capture, text: str, tiny: Tiny) -> None:
    model = str(tiny("qwen3moe", "F16"))
    assert main(["score", model, "--reference", model, "--text", text, "--windows", "1", *CONTEXT]) == 0
    said = capsys.readouterr()
    assert " in 1 window of " in said.out and not re.search(r"-0\.0+(?!\d)", said.out)
    assert "; ask for " in said.err


def test_a_quantised_reference_is_named(capsys: Capture, text: str, tiny: Tiny) -> None:
    """What it lost itself is in no figure."""
    models = [str(tiny("qwen3moe", "F16")), "--reference", str(tiny("qwen3moe", "Q4_0")), "--text", text]
    for _ in ("made now", "from the cache"):
        notices = [notice for notice in scored(capsys, *models)["notices"] if "quantised" in notice]
        assert [notice[:52] for notice in notices] == ["warning: the reference tiny is quantised already (Q4"]


def test_a_text_that_is_data_is_told_and_what_is_no_text_is_refused(tmp_path: Path, capsys: Capture) -> None:
    read = partial(read_text, reporter=TerminalReporter())
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a"}\n')
    assert read(rows).startswith('{"text"')
    assert "rows.jsonl is JSON lines: its keys" in capsys.readouterr().err
    rows.write_bytes(b"PAR1\0")
    with pytest.raises(UsageError, match="is a Parquet file"):
        read(rows)
    prose = tmp_path / "book.txt"
    prose.write_text("Words.\n")
    assert read(prose).startswith("Words.") and not capsys.readouterr().err
