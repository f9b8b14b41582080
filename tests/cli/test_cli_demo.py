"""`sixgig demo`, run once; every test looks at that run."""

import contextlib
import copy
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from sixgig.cli.comparison import bar, document
from sixgig.cli.main import main
from sixgig.jobs import demo as job
from sixgig.jobs.demo import N_TOKENS, DemoResult
from sixgig.jobs.reporter import Reporter
from sixgig.units import format_bytes


@dataclass(frozen=True)
class Demo:
    status: int
    out: str
    result: DemoResult


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    made: list[DemoResult] = []
    run = job.demo

    def kept(reporter: Reporter) -> DemoResult:
        made.append(run(reporter=reporter))
        return made[0]

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.setattr(job, "demo", kept)
        status = main(["demo"])
    yield Demo(status, out.getvalue(), made[0])


def test_it_shows_the_same_tokens_twice_and_says_what_it_is_not(demo: Demo) -> None:
    assert demo.status == 0
    claims = (
        "a quarter of the experts",
        "all experts",
        f"Same tokens: all {N_TOKENS}",
        "say nothing about real",
    )
    rows = ("experts in memory", "experts on disk only", "speed", "read from disk")
    for words in claims + rows:
        assert words in demo.out
    assert "\x1b" not in demo.out


def test_its_document_bears_the_claims_out(demo: Demo) -> None:
    made = json.loads(json.dumps(document(demo.result)))
    paged, whole = made["paged"], made["unpaged"]
    assert made["same_tokens"] and paged["token_ids"] == whole["token_ids"]
    assert len(whole["token_ids"]) == N_TOKENS
    assert (paged["mode"], whole["mode"]) == ("paged", "unpaged")
    total = whole["memory_by_tier"]["experts in memory"]
    assert 0 < paged["memory_by_tier"]["experts in memory"] <= total * 0.3
    assert paged["memory_by_tier"]["experts on disk only"] > 0
    assert paged["counters"]["misses"] > 0 and paged["bytes_read"] > 0
    assert paged["within_budget"] and whole["within_budget"]


def test_other_tokens_are_an_error(
    demo: Demo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paged = replace(demo.result.paged, answer=copy.deepcopy(demo.result.paged.answer))
    paged.answer.token_ids[2] += 1
    monkeypatch.setattr(job, "demo", lambda reporter: replace(demo.result, paged=paged))
    assert main(["demo"]) == 1
    captured = capsys.readouterr()
    assert "DIFFERENT tokens: only the first 2 of" in captured.out
    assert "error: the paged run wrote other tokens" in captured.err
    assert "equal up to token 2 of" in captured.err


@pytest.mark.parametrize(
    ("size", "drawn"), [(0, ""), (1, "▏"), (500, "██████"), (1000, "████████████"), (540, "██████▌")]
)
def test_bars_are_as_long_as_their_numbers(size: int, drawn: str) -> None:
    assert bar(size, 1000).split(" ")[0] == drawn


def test_the_rows_of_memory_add_up_to_the_peak_that_is_printed(demo: Demo) -> None:
    made = document(demo.result)
    for run in (made["paged"], made["unpaged"]):
        held = [size for name, size in run["memory_by_tier"].items() if name != "experts on disk only"]
        assert sum(held) == run["peak_memory_bytes"]
        assert run["peak_anonymous_bytes"] + run["peak_file_bytes"] == run["peak_memory_bytes"]
        assert format_bytes(run["peak_memory_bytes"]) in demo.out
