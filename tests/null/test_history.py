"""Past runs are remembered line by line; what cannot be read is passed over, never believed."""

import json
import os
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.inference import history
from sixgig.inference.history import past_runs, remember_run
from sixgig.planning import Record

RECORD = Record(
    at="2026-11-25T00:00:00+00:00", version="0.1.0", machine="box", model="tiny", size_bytes=10, mode="paged",
    context=4096, ubatch=512, predicted_peak_bytes=100, measured_peak_bytes=90, process_bytes=5,
    program_bytes=6, cache_share=0.25, hit_rate=0.6, predicted_decode_s=0.1, measured_decode_s=0.12,
    predicted_prompt_s=0.01, measured_prompt_s=0.02,
)  # fmt: skip


def test_what_was_remembered_comes_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "runs.jsonl"
    records = [replace(RECORD, context=n, hit_rate=None if n % 2 else 0.5) for n in (256, 513, 1024)]
    for record in records:
        remember_run(record, path)
    assert past_runs(path) == tuple(records)


def test_no_file_means_no_runs(tmp_path: Path) -> None:
    assert past_runs(tmp_path / "none") == ()
    assert past_runs(tmp_path) == ()  # a folder


def test_a_torn_line_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    remember_run(RECORD, path)
    path.write_bytes(path.read_bytes() + b'{"at": "2026-')  # a crash in the middle of a write
    remember_run(replace(RECORD, model="after"), path)
    assert [record.model for record in past_runs(path)] == ["tiny", "after"]


@pytest.mark.parametrize(
    "change",
    [
        {"size_bytes": -1},
        {"size_bytes": "many"},
        {"measured_decode_s": float("nan")},
        {"hit_rate": True},
        {"mode": 3},
        {"surprise": 1},
    ],
)
def test_a_line_that_lies_is_passed_over(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps({**asdict(RECORD), **change}) + "\n" + json.dumps(asdict(RECORD)) + "\n")
    assert past_runs(path) == (RECORD,)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(content: bytes) -> None:
    path = Path(os.environ["XDG_DATA_HOME"]) / "fuzzed.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert past_runs(path) == ()


def test_a_folder_that_cannot_be_written_fails_no_run(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    remember_run(RECORD, blocked / "runs.jsonl")
    assert blocked.read_text() == ""


def test_the_file_stays_short_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_BYTES", 4000)
    path = tmp_path / "runs.jsonl"
    for n in range(1, 60):
        remember_run(replace(RECORD, context=n), path)
    assert path.stat().st_size < 4000 + len(json.dumps(asdict(RECORD))) + 2
    assert past_runs(path)[-1].context == 59


def _write_many(path: str) -> None:
    for _ in range(50):
        remember_run(RECORD, Path(path))


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    context = get_context("spawn")
    writers = [context.Process(target=_write_many, args=(str(path),)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert past_runs(path) == (RECORD,) * 150
