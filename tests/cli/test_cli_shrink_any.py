"""`sixgig shrink` and `score` on architectures that no family declares, and on what generates no text."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sixgig.cli.main import main
from sixgig.compress.shrinker import Shrinker
from sixgig.modelfile import open_model
from tests.cli.shrink_source import SMALL, Tiny
from tests.paged.engines import logits_of, open_paged, share_of_experts, stock_logits
from tests.tiny.edited import edited, renamed

pytestmark = pytest.mark.usefixtures("quick")

Capture = pytest.CaptureFixture[str]
# Architectures that no family declares, with one that names its tensors alike.
UNDECLARED = {"mellum": "qwen3moe", "smollm3": "llama"}


@pytest.fixture
def undeclared(tiny: Tiny, tmp_path: Path) -> Callable[[str], Path]:
    def make(architecture: str) -> Path:
        source = tiny(UNDECLARED[architecture], "F16", **SMALL)
        return renamed(source, tmp_path / f"{architecture}.gguf", architecture)

    return make


def test_a_model_without_a_declaration_is_quantised_and_told_why_it_is_not_cut(
    undeclared: Callable[[str], Path],
    text: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sampled, source, size = [], undeclared("mellum"), 1500 << 10
    calibration = Shrinker.calibration.func
    monkeypatch.setattr(
        Shrinker, "calibration", property(lambda self: sampled.append(found := calibration(self)) or found)
    )
    out = tmp_path / "out.gguf"
    command = ["shrink", str(source), "-o", str(out), "--size", str(size), "--text", str(text), "--json"]
    assert main(command) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert captured.err.count("is not cut: ") == 1
    assert "what may be cut out of mellum is not declared" in captured.err
    assert document["equal_bytes"]["pruned"] is None
    assert 0.8 * size < document["size_bytes"] == out.stat().st_size <= size
    assert sampled and not sampled[0].sample_layout.places, "samples are for cutting"
    assert not open_model(out).family.declared
    stock = stock_logits(out)
    assert np.isfinite(stock).all()
    with open_paged(out, share_of_experts(out, 0.3)) as engine:
        assert np.array_equal(logits_of(engine), stock)


def test_it_is_scored_against_itself(
    undeclared: Callable[[str], Path], text: Path, capsys: Capture, tmp_path: Path
) -> None:
    model = str(undeclared("mellum"))
    told = ["--text", str(text), "--context", "64", "--windows", "4", "--json"]
    assert main(["score", model, "--reference", model, *told]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["same_top1"] == 1 and abs(document["kld_mean"]) < 1e-5


@pytest.mark.parametrize("verb", ["score", "shrink"])
@pytest.mark.parametrize(
    ("pooling", "words"), [(1, "is an embedding model (smollm3)"), (4, "is a reranking model (smollm3)")]
)
def test_what_generates_nothing_is_refused_by_name(
    undeclared: Callable[[str], Path],
    text: Path,
    tmp_path: Path,
    capsys: Capture,
    verb: str,
    pooling: int,
    words: str,
) -> None:
    path = edited(undeclared("smollm3"), tmp_path / "pools.gguf", {"smollm3.pooling_type": pooling})
    before = sorted(tmp_path.iterdir())
    more = ["-o", str(tmp_path / "out.gguf"), "--size", "600K"] if verb == "shrink" else []
    assert main([verb, str(path), "--text", str(text), *more]) == 1
    captured = capsys.readouterr()
    last = captured.err.splitlines()[-1]
    assert last.startswith("error: ") and words in last and captured.out == ""
    assert sorted(tmp_path.iterdir()) == before
