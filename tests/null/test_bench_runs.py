"""The runners and their table: equal work, cgroups that hold and vanish, ratios that are right."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from bench.cgroup import MemoryGroup, drop_caches, unavailable
from bench.compare import main as compare_main
from bench.forced import run_forced
from bench.ours import counters, difference
from bench.peers import Task, peer
from bench.plain import PlainContext, Settings
from bench.stock import main as stock_main
from bench.synthetic.shape import PRESETS
from bench.synthetic.writer import write_model
from bench.table import agreement, show, spread
from bench.tokens import stream_for
from sixgig.errors import EngineError, UsageError
from sixgig.inference.load import BudgetedEngine

WHY_NOT = unavailable()
needs_cgroup = [pytest.mark.cgroup, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "possible")]


class Echo:
    """A runner whose logits say how many tokens it has seen."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def prefill(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        self.seen += tokens
        return np.full(4, len(self.seen), np.float32)

    def decode(self, token: int) -> npt.NDArray[np.float32]:
        return self.prefill([token])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "tiny.gguf"
    write_model(PRESETS["tiny"], path)
    return path


@pytest.fixture(scope="module")
def tokens(model: Path) -> Path:
    path = model.with_name("tokens")
    path.write_text("\n".join(map(str, stream_for(model).draw(24, seed=1))))
    return path


def test_forced_run_feeds_every_token_once() -> None:
    runner = Echo()
    figures = run_forced(runner, list(range(10)), n_prompt=4)
    assert runner.seen == list(range(10))
    assert (figures.prompt_tokens, len(figures.token_seconds), len(figures.logits_digests)) == (4, 6, 7)
    assert figures.finite and figures.peak_memory_bytes > 0
    assert figures.logits_sha256 == run_forced(Echo(), list(range(10)), 4).logits_sha256


def test_forced_run_stops_in_time_and_refuses_an_empty_one() -> None:
    assert len(run_forced(Echo(), list(range(10)), 4, decode_seconds=0.0).token_seconds) == 0
    with pytest.raises(UsageError, match="nothing to measure"):
        run_forced(Echo(), [1, 2], 2)


def test_stock_prefill_equals_stock_decode_in_shape(model: Path, tokens: Path) -> None:
    ids = [int(line) for line in tokens.read_text().split()]
    with PlainContext(model, Settings(ubatch=8, context=64)) as context:
        logits = context.prefill(ids)
    assert logits.shape == (512,)


def test_stock_prints_one_line_of_json(model: Path, tokens: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(model), str(tokens), "--prompt", "16", "--context", "64"]
    digests = []
    for load_mode in ("mmap", "none"):
        assert stock_main([*words, "--load-mode", load_mode]) == 0
        figures = json.loads(capsys.readouterr().out)
        assert figures["finite"] and len(figures["token_seconds"]) == 8
        digests.append(figures["logits_sha256"])
    assert digests[0] == digests[1]


def test_stock_says_what_is_wrong(tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError, match="cannot load"):
        PlainContext(tmp_path / "absent.gguf", Settings())
    assert stock_main([str(tmp_path / "absent.gguf"), str(tokens)]) == 1
    assert "cannot load" in capsys.readouterr().err


class TestMemoryGroup:
    pytestmark = needs_cgroup

    def test_reports_output_status_and_peaks(self) -> None:
        code = "import time; b = bytearray(80 << 20); print(len(b)); time.sleep(0.3); raise SystemExit(3)"
        with MemoryGroup(512 << 20) as group:
            run = group.run([sys.executable, "-c", code])
        assert (run.status, run.stdout.strip(), run.timed_out) == (3, str(80 << 20), False)
        assert 80 << 20 < run.peak_anonymous_bytes < 200 << 20
        assert run.peak_bytes == 0 or run.peak_bytes >= run.peak_anonymous_bytes
        assert not group.path.exists()

    def test_limit_holds(self) -> None:
        with MemoryGroup(64 << 20) as group:
            run = group.run([sys.executable, "-c", "b = bytearray(256 << 20)"])
        assert run.status == -9 and run.peak_bytes <= 64 << 20

    def test_timeout_kills_everything_and_the_group_goes(self) -> None:
        with MemoryGroup(None) as group:
            run = group.run(["sh", "-c", "sleep 60 & sleep 60"], timeout_s=0.3)
        assert run.timed_out and run.seconds < 5 and not group.path.exists()

    def test_group_goes_when_the_body_fails(self) -> None:
        with pytest.raises(FileNotFoundError), MemoryGroup(None) as group:
            group.run(["true"], environment={"PATH": "/nowhere"})
        assert not group.path.exists()

    def test_file_pages_are_told_apart(self, tmp_path: Path) -> None:
        big = tmp_path / "big"
        big.write_bytes(os.urandom(1 << 20) * 64)
        drop_caches(big)
        code = "import sys, time\nf = open(sys.argv[1], 'rb')\nwhile f.read(1 << 20): pass\ntime.sleep(0.3)"
        with MemoryGroup(None) as group:
            run = group.run([sys.executable, "-c", code, str(big)])
        assert run.peak_file_bytes > 60 << 20 and run.peak_anonymous_bytes < 40 << 20


def task(model: Path, limit_bytes: int) -> Task:
    return Task(model, Path("tokens"), 1 << 30, limit_bytes, 4, 9.0, 2, 512, 64)


def test_peers_get_the_same_work_and_say_why_they_cannot_run(model: Path) -> None:
    ours, stock = peer("ours", task(model, 1 << 30)), peer("mmap", task(model, 1 << 30))
    assert ours.command[3:15] == stock.command[3:15]
    assert ours.limit_bytes == stock.limit_bytes == 1 << 30
    assert peer("ours-resident", task(model, 1 << 30)).limit_bytes is None
    assert "limit 20 MiB" in peer("none-extra", task(model, 20 << 20)).skip
    assert peer("mmap", task(model, 20 << 20)).skip == ""


@pytest.mark.cgroup
@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "possible")
def test_comparison_from_end_to_end(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.compare.READ_SECONDS", 0.1)
    out = tmp_path / "result.json"
    words = ["--peers", "mmap,none", "--rounds", "1", "--prompt", "8", "--decode", "4", "--limit", "400M"]
    assert compare_main([str(model), *words, "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["failed"] == {} and result["disk_bandwidth_bytes_per_s"][0] > 0
    assert [len(result["runs"][name][0]["token_seconds"]) for name in ("mmap", "none")] == [4, 4]
    assert "plain reads of this file" in capsys.readouterr().out


def run_result(speed: float, **more: Any) -> dict[str, Any]:
    figures = {
        "decode_tokens_per_s": speed,
        "prefill_tokens_per_s": 10 * speed,
        "token_seconds": [1 / speed] * 4,
    }
    memory = dict.fromkeys(
        ("cgroup_peak_bytes", "cgroup_peak_anonymous_bytes", "cgroup_peak_file_bytes"), 1 << 20
    )
    return figures | memory | {"logits_digests": ["a", "b"]} | more


def test_table_gives_ratios_range_and_the_floor() -> None:
    counted = {"hits": 60, "misses": 40, "bytes_read": 8e9, "read_s": 4.0, "compute_s": 1.0}
    paged = {"decode_counters": counted, "predicted_peak_memory_bytes": 1 << 20}
    result = {
        "model": "m.gguf",
        "task": {"ram_bytes": 1 << 30, "limit_bytes": 1 << 30},
        "model_bytes": 4 << 30,
        "disk_bandwidth_bytes_per_s": [2e9, 2e9],
        "failed": {"none": "too big"},
        "runs": {
            "ours": [run_result(4.0, **paged), run_result(5.0, **paged)],
            "mmap": [run_result(0.4), run_result(0.25)],
        },
    }
    text = show(result)
    assert "decode: ours / mmap = 15.00 (10.00-20.00)" in text
    assert "not run: too big" in text
    assert "hit rate 0.60" in text and "2 of 2 positions bit-equal" in text
    assert "floor of 1.250 s" in text


def test_small_parts() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2.00 (1.00-3.00)"
    assert agreement([{"logits_digests": ["a", "b"]}], [{"logits_digests": ["a", "x", "y"]}]).startswith(
        "1 of 2"
    )
    assert difference({"a": 1}, {"a": 3, "b": 2}) == {"a": 2, "b": 2}


def test_an_unpaged_engine_has_no_counters() -> None:
    class Unpaged:
        def counters(self) -> None:
            return None

    assert counters(cast(BudgetedEngine, Unpaged())) == {}
