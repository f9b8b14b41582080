"""The table of all architectures says what happened: equal, unequal, or who refused and in which words."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.architectures import trying
from bench.architectures.__main__ import main
from bench.architectures.description import Description, describe, write
from bench.architectures.expand import N_EXPERTS, N_USED, expand, is_mixture, with_prediction
from bench.architectures.generator import generate
from bench.architectures.text import from_json, to_json
from bench.architectures.trying import Outcome, try_derived, try_file
from sixgig.errors import EngineError

FOLDER = Path(__file__).parent


def facts(name: str) -> Description:
    return from_json((FOLDER / f"{name}.json").read_text())


def smaller(description: Description) -> Description:
    """As the generator would write it: 2 experts of which 2 are used, in F32."""
    tensors = [
        replace(t, shape=tuple(2 if n == N_EXPERTS else n for n in t.shape), type="F32")
        for t in description.tensors
    ]
    keys = {f"{description.architecture}.expert{key}": ("UINT32", 2) for key in ("_count", "_used_count")}
    return Description(description.metadata | keys, tuple(tensors))


def test_a_file_is_run_paged_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(smaller(facts("smallthinker")), tmp_path / "smallthinker-moe.gguf")
    rows = tmp_path / "rows.json"
    assert main(["--files", str(tmp_path), "--json", str(rows)]) == 0
    said, told = capsys.readouterr().out, json.loads(rows.read_text())
    (file,) = told["files"]
    assert all(file[what] for what in ("runs", "bits", "predicted", "within")) and not file["reason"]
    assert [row["kind"] for row in told["derived"]] == ["Q8_0", "Q4_K"]
    for row in told["derived"]:
        assert row["bits"] and row["absent"] and row["varied"] and row["within"] and not row["reason"]
        assert len(row["evictions"]) == 3 and N_USED < row["fewest_distinct"] <= N_EXPERTS
    assert "| runs here | 1 | 1 |" in said and "| Q8_0 | 1 | 1 | 1 | 1 | 1 | 1 |" in said


def test_what_the_engine_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    whole = facts("smallthinker")
    kept = tuple(tensor for tensor in whole.tensors if tensor.name != "blk.1.attn_q.weight")
    row = try_file(write(replace(whole, tensors=kept), tmp_path / "model.gguf"))
    assert not row.runs and "stock: " in row.reason and "here: " in row.reason
    assert row.reason.count("blk.1.attn_q.weight") == 2


def test_other_bits_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last bit of one logit at one cache size."""
    honest = trying.outcome

    def disturbed(work: str, path: Path) -> Outcome:
        done = honest(work, path)
        if work == "paged":
            done.logits["25%"].view("u4")[-1, 0] ^= 1
        return done

    monkeypatch.setattr(trying, "outcome", disturbed)
    row = try_derived("smallthinker", "Q8_0", facts("smallthinker"))
    assert not row.bits and not row.proven and row.absent and row.reason == "differs from stock: 25%"


@pytest.mark.parametrize("name", [path.stem for path in sorted(FOLDER.glob("*.json"))])
def test_a_description_is_the_header_it_was_made_from(name: str, tmp_path: Path) -> None:
    written = facts(name)
    assert to_json(written) == (FOLDER / f"{name}.json").read_text()
    small = replace(
        written, tensors=tuple(t for t in written.tensors if t.type == "F32" and t.shape[-1] < 64)
    )
    assert describe(write(small, tmp_path / "model.gguf")) == small


def test_the_generator_is_asked_once(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\n[ ! -e "$2/a.gguf" ] && [ "$1$3$4" = -o-s1 ] && touch "$2/a.gguf"\n')
    program.chmod(0o755)
    for _ in range(2):
        assert generate(tmp_path / "made", program) == [tmp_path / "made" / "a.gguf"]
    with pytest.raises(EngineError, match="the generator failed"):
        generate(tmp_path / "other", Path("/bin/false"))


def test_growing_reaches_all_that_hangs_on_the_number_of_experts() -> None:
    for path in sorted(FOLDER.glob("*.json")):
        grown = facts(path.stem)
        assert is_mixture(grown) and grown.get("expert_count") == N_EXPERTS
        if "blk.0.ffn_gate_tid2eid.weight" not in {tensor.name for tensor in grown.tensors}:
            again = expand(smaller(grown), "Q8_0")
            assert {t.name: t.shape for t in again.tensors} == {t.name: t.shape for t in grown.tensors}


def test_a_layer_that_predicts_is_added_where_the_architecture_knows_one() -> None:
    assert with_prediction(facts("smallthinker")) is None
    longer = with_prediction(facts("qwen35moe"))
    assert longer is not None and longer.get("nextn_predict_layers") == 1
    assert longer.get("block_count") == facts("qwen35moe").get("block_count") + 1
