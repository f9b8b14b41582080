"""sixgig.jobs.bench: what the verb measures, from Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from sixgig.errors import Cancelled, UsageError
from sixgig.inference.request import PagingOptions
from sixgig.jobs import measuring
from sixgig.jobs.bench import BenchRequest, bench
from tests.jobs.reporters import Canceller, Recorder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "DISK_S", 0.1)
    monkeypatch.setattr(measuring, "MEMORY_S", 0.05)


def test_a_paged_bench_sets_speed_beside_what_the_bytes_allow(capfd: pytest.CaptureFixture[str]) -> None:
    heard = Recorder()
    made = bench(ram=1 << 30, prompt_tokens=48, tokens=12, paging=PagingOptions(always=True), reporter=heard)
    assert capfd.readouterr() == ("", "")
    assert heard.words("progress") == ["loading", "measuring"]
    assert made.disk is not None and made.stats.plan.mode == "paged" and made.tokens_from == "seed 0"
    for phase, limit, n_tokens in (
        (made.prefill, made.prefill_limit, 48),
        (made.decode, made.decode_limit, 12),
    ):
        assert phase.n_tokens == n_tokens and phase.tokens_per_s == pytest.approx(n_tokens / phase.seconds)
        assert limit.ratio == pytest.approx(phase.tokens_per_s / limit.tokens_per_s)
        from_memory = limit.memory_bytes / made.memory.bytes_per_s
        assert limit.seconds == pytest.approx(from_memory + limit.disk_bytes / made.disk.bytes_per_s)
    assert 0 < made.stats.peak_memory_bytes <= 1 << 30
    assert [words.split()[0] for words in made.notices] == ["hits", "warning:"]


def test_what_fits_needs_no_disk_and_a_text_is_fed_from_its_file(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("This PEP proposes a syntax for what has none. " * 20)
    made = bench(prompt_tokens=40, tokens=32, text=str(text))
    assert made.disk is None and made.decode.counters is None and made.stats.hit_rate is None
    assert made.tokens_from == str(text) and made.notices == ()


def test_a_bench_is_cancelled_between_tokens() -> None:
    canceller = Canceller("measuring")
    with pytest.raises(Cancelled):
        bench(prompt_tokens=8, tokens=100, ubatch=8, reporter=canceller)
    assert len(canceller.fractions) == 1


def test_what_cannot_be_is_refused_when_the_request_is_made() -> None:
    for name, value in (("prompt_tokens", 0), ("tokens", 0), ("seed", -1), ("ubatch", 0), ("ram", 0)):
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} of {value} is not possible"):
            BenchRequest("model.gguf", **{name: value})  # type: ignore[arg-type]
