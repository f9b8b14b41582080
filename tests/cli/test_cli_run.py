"""`sixgig run` within this process: what it prints, where, and with which status."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sixgig.cli.main import main
from sixgig.jobs.opening import demo_path
from sixgig.pager.trace import TraceFile

PROMPT = "PEP: 9999\nTitle: "
DEMANDED = {
    "text": str,
    "token_ids": list,
    "prompt_tokens": int,
    "prefill_tokens_per_s": float,
    "decode_tokens_per_s": float,
    "bytes_read": int,
    "peak_memory_bytes": int,
    "predicted_peak_memory_bytes": int,
    "ram_budget_bytes": int,
    "mode": str,
    "plan": dict,
    "seed": int,
    "within_budget": bool,
}
Outcome = tuple[int, str, str]
Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> Outcome:
        status = main(list(arguments))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def document(run: Run, *arguments: str) -> dict[str, Any]:
    options = ("--context", "256", "-n", "24", "--temperature", "0", "--ubatch", "64", "--json")
    status, out, _ = run("run", *options, *arguments)
    assert status == 0
    made: dict[str, Any] = json.loads(out)
    return made


def test_paged_and_whole_runs_write_the_same_greedy_tokens(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "routing.trace"
    whole = document(run, str(demo_path()), "--raw", "-p", PROMPT)
    paged = document(
        run, "-p", PROMPT, "--always-page", "--policy", "lru", "--ram", "1G", "--trace", str(trace)
    )
    assert paged["token_ids"] == whole["token_ids"] and len(whole["token_ids"]) == 24
    assert paged["text"] == whole["text"]
    _check_schema(whole, "unpaged")
    _check_schema(paged, "paged")
    assert whole["hit_rate"] is None and whole["counters"] is None
    assert 0 <= paged["hit_rate"] <= 1 and paged["bytes_read"] == paged["counters"]["bytes_read"] > 0
    assert paged["ram_budget_bytes"] == 2**30
    _check_trace(trace, paged)


def _check_schema(made: dict[str, Any], mode: str) -> None:
    for key, kind in DEMANDED.items():
        assert isinstance(made[key], kind), key
    assert made["mode"] == made["plan"]["mode"] == mode
    assert made["within_budget"] and made["peak_memory_bytes"] <= made["ram_budget_bytes"]


def _check_trace(path: Path, made: dict[str, Any]) -> None:
    """One visit per layer and evaluation: the prompt, then every token but the last."""
    visits = list(TraceFile(path))
    assert len(visits) == 8 * 24
    assert visits[0].n_tokens == made["prompt_tokens"] and visits[-1].n_tokens == 1


def test_text_goes_to_stdout_and_everything_else_to_stderr(run: Run) -> None:
    status, out, err = run("run", "-p", PROMPT, "-n", "8", "--context", "256")
    assert status == 0
    assert out and "tokens/s" not in out
    for words in ("demo model", "predicted peak", "tokens/s", "unpaged", "peak memory"):
        assert words in err


def test_a_budget_that_cannot_work_names_the_smallest_that_does(run: Run) -> None:
    status, out, err = run("run", "--ram", "10M", "-p", "x")
    assert (status, out) == (1, "")
    line = err.splitlines()[-1]
    assert line.startswith("error: the model does not fit in 10.00 MiB")
    assert "needed" in line and "try --ram " in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ram", "6X", "-p", "x"], "'6X' is not a size"),
        (["/no/such/model.gguf", "-p", "x"], "does not exist"),
        (["/", "-p", "x"], "is a directory"),
        (["hf:nonsense", "-p", "x"], "names no repository"),
        (["-n", "0", "-p", "x"], "--max-tokens of 0"),
        (["--threads", "0", "-p", "x"], "--threads of 0"),
        (["--context", "0", "-p", "x"], "context of 0"),
        (["--ubatch", "0", "-p", "x"], "ubatch of 0"),
        (["--temperature", "-1", "-p", "x"], "temperature of -1"),
        (["--temperature", "nan", "-p", "x"], "temperature of nan"),
        (["--seed", "-1", "-p", "x"], "seed of -1"),
        (["-p", " "], "the prompt is empty"),
        (["--json"], "cannot chat"),
        (["--raw"], "cannot chat"),
        (["--trace", "/tmp/trace", "-p", "x"], "no routing to record"),
        (["--trace", "/no/such/folder/trace", "--always-page", "-p", "x"], "cannot write"),
        (["-p", "word " * 300, "--context", "256"], "longer than the context"),
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_bad_values_are_one_line_and_status_two_and_files_that_fail_status_one(
    run: Run, arguments: list[str], words: str, form: list[str]
) -> None:
    if "longer" in words and form:
        pytest.skip("loads the model; once is enough")
    status, out, err = run("run", *arguments, *(form if "--json" not in arguments else []))
    failed = words in ("does not exist", "is a directory", "cannot write")
    assert (status, out) == (1 if failed else 2, "")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and words in errors[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--nonsense"], "--nonsense"),
        (["nonsense"], "nonsense"),
        (["run", "--policy", "best", "-p", "x"], "best"),
        (["run", "--context", "many", "-p", "x"], "--context"),
        (["run", "a.gguf", "b.gguf"], "b.gguf"),
    ],
)
def test_what_is_no_option_of_ours_is_refused_with_status_two(
    run: Run, arguments: list[str], words: str
) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and words in err and "--help" in err and err.count("\n") == 1


def test_help_and_version(run: Run) -> None:
    for verb in ([], ["run"], ["demo"], ["bench"]):
        status, out, err = run(*verb, "--help")
        assert (status, err) == (0, "") and "Usage: sixgig" in out
        assert max(map(len, out.splitlines())) <= 80
    assert run()[:2] == run("--help")[:2]
    assert run("--version")[1].startswith("sixgig ")


def test_a_bug_is_told_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str | None, quiet: bool = False) -> None:
        raise KeyError("lost")

    monkeypatch.setattr("sixgig.jobs.run.find_model", fail)
    status, _, err = run("run", "-p", "x")
    assert status == 1 and err.startswith("error: a bug in sixgig; KeyError: 'lost'")
