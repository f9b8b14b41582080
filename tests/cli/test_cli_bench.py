import json
from pathlib import Path

import pytest

from sixgig.cli.main import main
from sixgig.jobs import measuring
from sixgig.jobs.texts import drawn_tokens

SHORT = ["bench", "--prompt-tokens", "48", "--tokens", "12"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "DISK_S", 0.1)
    monkeypatch.setattr(measuring, "MEMORY_S", 0.05)


def test_a_paged_bench_sets_speed_beside_what_the_bytes_allow(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SHORT, "--always-page", "--ram", "1G", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["mode"] == "paged" and made["within_budget"]
    limit = made["limit"]
    for phase, n_tokens in (("prefill", 48), ("decode", 12)):
        measured, bound = made[phase], limit[phase]
        assert measured["n_tokens"] == n_tokens
        assert measured["tokens_per_s"] == pytest.approx(n_tokens / measured["seconds"])
        assert bound["ratio"] == pytest.approx(measured["tokens_per_s"] / bound["tokens_per_s"])
        from_memory = bound["memory_bytes"] / limit["memory_bandwidth_bytes_per_s"]
        from_disk = bound["disk_bytes"] / limit["disk_bandwidth_bytes_per_s"]
        assert bound["seconds"] == pytest.approx(from_memory + from_disk)
    assert made["prefill"]["counters"]["misses"] > 0
    fast, slow = made["decode"]["token_s_5_to_95_percent"]
    assert 0 < fast <= slow and made["prefill"]["token_s_5_to_95_percent"] is None
    assert any("random tokens" in notice for notice in made["notices"])
    assert any("timed on 12 tokens, 32 are wanted" in notice for notice in made["notices"])
    assert made["limit"]["prefill"]["disk_bytes"] <= made["prefill"]["counters"]["bytes_read"]


def test_a_bench_of_text_that_fits_needs_no_disk(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("This PEP proposes a syntax for what has none. " * 20)
    assert main([*SHORT, "--text", str(text)]) == 0
    out = capsys.readouterr().out
    assert "of nine in ten" in out and "random tokens" not in out and "warning: decoding was" in out
    assert "unpaged" in out and "speed / limit" in out and "nothing was paged" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tokens", "0"], "--tokens of 0"),
        (["--prompt-tokens", "-3"], "--prompt-tokens of -3"),
        (["--text", "/no/such/text"], "cannot read"),
        (["--text", __file__, "--prompt-tokens", "90000"], "the text is too short"),
    ],
)
def test_bad_values_are_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert main(["bench", *arguments]) == (1 if words == "cannot read" else 2)
    captured = capsys.readouterr()
    assert captured.out == "" and words in captured.err.splitlines()[-1]


def test_drawn_tokens_repeat_by_half_and_by_seed() -> None:
    ids = drawn_tokens(4096, 2000, seed=3)
    assert ids == drawn_tokens(4096, 2000, seed=3) != drawn_tokens(4096, 2000, seed=4)
    assert all(0 <= token < 4096 for token in ids)
    repeats = sum(token in ids[max(0, i - 64) : i] for i, token in enumerate(ids)) / len(ids)
    assert 0.5 < repeats < 0.9
