"""Limits of the system: a budget above one is cut to it aloud, a refusal names it, and takes no memory."""

import contextlib
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sixgig.errors import BudgetError
from sixgig.hardware import LimitedGroup, MachineMemory, MemoryLimit, limits, memory_limit
from sixgig.inference import EngineOptions
from sixgig.inference.memory import arrange
from sixgig.inference.request import MemoryRequest, PagingOptions
from sixgig.modelfile import open_model
from sixgig.planning import Refusal, allowance
from tests.peaks import PeakWatch
from tests.serve.ollama_server import DEMO

MIB, GIB = 1 << 20, 1 << 30
MACHINE = MachineMemory(16 * GIB, 10 * GIB, None)
WHOLE = MemoryLimit("this machine's memory", 16 * GIB, 16 * GIB)
GROUP = MemoryLimit("the control group's memory limit", 300 * MIB, 284 * MIB)
NAMED = "the control group's memory limit is {}.00 MiB"
CEILING_MIB = 150
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@dataclass(frozen=True)
class Ended:
    status: int
    said: str
    peak_bytes: int


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "sixgig", *words]


def ended(words: Sequence[str], limit_bytes: int | None = None) -> Ended:
    """The command, in a control group of its own where a limit is given; its address space is bounded."""
    process = subprocess.Popen(
        ["sh", "-c", f'read _; ulimit -v {8 * GIB // 1024}; exec "$@"', "x", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    group = None if limit_bytes is None else LimitedGroup.around(process.pid, limit_bytes)
    try:
        if limit_bytes is not None and group is None:
            pytest.skip("this system lets us make no memory control group")
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(b"\n")
        process.stdin.close()
        peak = PeakWatch(process).start()
        said = process.stderr.read().decode()
        return Ended(process.wait(), said, peak.join())
    finally:
        process.kill()
        process.wait()
        if group is not None:
            group.remove()


def test_a_budget_above_a_limit_is_cut_to_it_and_that_is_said() -> None:
    found = allowance(8 * GIB, MACHINE, GROUP, 50 * MIB)
    assert (found.ram_bytes, found.limit) == (284 * MIB, GROUP)
    assert found.remark == (
        "--ram of 8.00 GiB: the control group's memory limit is 300.00 MiB; "
        "planning with 284.00 MiB, as --ram 284M would"
    )


def test_a_budget_above_what_is_free_is_kept_and_that_is_said() -> None:
    found = allowance(12 * GIB, MACHINE, WHOLE)
    assert (found.ram_bytes, found.limit) == (12 * GIB, None)
    assert found.remark == "--ram of 12.00 GiB: only 10.00 GiB are free now"
    assert allowance(9 * GIB, MACHINE, WHOLE).remark == ""


def test_nothing_asked_for_is_what_is_free_under_the_limit() -> None:
    assert allowance(None, MACHINE, WHOLE).ram_bytes == 10 * GIB - 512 * MIB
    within = MachineMemory(16 * GIB, 260 * MIB, 300 * MIB)
    found = allowance(None, within, GROUP, 40 * MIB)
    assert (found.ram_bytes, found.limit, found.remark) == (300 * MIB * 7 // 8, GROUP, "")


def test_a_refusal_behind_which_a_limit_stands_names_it_and_the_one_that_would_do() -> None:
    found = allowance(8 * GIB, MACHINE, GROUP)
    with pytest.raises(BudgetError) as refused, found.explaining():
        raise Refusal(400 * MIB, "it does not fit", "400.00 MiB needed", "try --ram 400M")
    assert str(refused.value) == (
        "it does not fit; 400.00 MiB needed; the control group's memory limit is 300.00 MiB; "
        "raise that to 416M; try --ram 400M"
    )
    assert getattr(refused.value, "smallest_bytes", None) == 400 * MIB
    other = allowance(1 * GIB, MACHINE, WHOLE)
    with pytest.raises(BudgetError, match=r"^it does not fit; try --ram 400M$"), other.explaining():
        raise BudgetError("it does not fit", "", "try --ram 400M")


def test_limits_on_address_space_and_data_count(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in ((resource.RLIMIT_AS, "ulimit -v"), (resource.RLIMIT_DATA, "ulimit -d")):
        own = {number: (4 * GIB, 4 * GIB)}
        monkeypatch.setattr(limits.resource, "getrlimit", lambda which, own=own: own.get(which, UNLIMITED))
        found = memory_limit()
        assert (name in found.name, found.limit_bytes) == (True, 4 * GIB)
        assert 0 < found.reachable_bytes < 4 * GIB


def test_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    files = {
        "proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n",
        "proc/self/cgroup": "4:memory:/a/b",
        "sys/fs/cgroup/memory/a/memory.limit_in_bytes": 300 * MIB,
        "sys/fs/cgroup/memory/a/memory.usage_in_bytes": 30 * MIB,
        "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": 2 * GIB,
        "sys/fs/cgroup/memory/a/b/memory.usage_in_bytes": 30 * MIB,
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{content}\n")
    found = memory_limit(tmp_path)
    assert (found.name, found.limit_bytes) == ("the control group's memory limit", 300 * MIB)
    assert found.reachable_bytes <= 284 * MIB


def test_a_small_group_runs_what_fits_in_it_whatever_was_asked_for() -> None:
    for ram in (["--ram", "8G"], []):
        run = ended(command("run", "-p", "Abstract", "-n", "3", *ram), 230 * MIB)
        assert run.status == 0, run.said
        assert (NAMED.format(230) in run.said) == bool(ram)
        assert run.peak_bytes < 230 * MIB


def test_the_limit_that_a_refusal_names_works() -> None:
    words = command("run", "-p", "Abstract", "-n", "3", "--ram", "8G")
    refused = ended(words, 130 * MIB)
    assert (refused.status, NAMED.format(130) in refused.said) == (1, True), refused.said
    raised = re.search(r"raise that to (\d+)M; try --ram (\d+)M", refused.said)
    assert raised is not None, refused.said
    assert ended(words, int(raised[1]) * MIB).status == 0
    assert ended([*words[:-1], f"{raised[2]}M"], int(raised[1]) * MIB).status == 0


@pytest.mark.parametrize("verb", ["bench", "score", "serve", "tune"])
def test_every_verb_refuses_under_a_limit_by_its_name(verb: str, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("some words to score " * 400)
    more = {
        "bench": [str(DEMO)],
        "score": [str(DEMO), "--text", str(text), "--context", "64"],
        "serve": [str(DEMO), "--port", "0"],
        "tune": [str(DEMO), str(text), "-o", str(tmp_path / "tuned")],
    }
    refused = ended(command(verb, *more[verb], "--ram", "8G"), 120 * MIB)
    assert (refused.status, NAMED.format(120) in refused.said) == (1, True), refused.said
    assert re.search(r"raise that to \d+M; try --ram \d+M", refused.said)


@pytest.mark.parametrize(
    "more",
    [
        ["run", "-p", "a", "--context", "16777216"],
        ["run", "-p", "a", "--context", "16777216", "--ubatch", "16777216"],
        ["run", "-p", "a", "--context", "4194304", "--always-page"],
        ["score", str(DEMO), "--text", "TEXT", "--context", "60000", "--ubatch", "60000"],
        ["serve", str(DEMO), "--context", "16777216", "--port", "0"],
    ],
    ids=" ".join,
)
def test_refusing_takes_no_memory(more: list[str], tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("x " * 1000)
    words = [str(text) if word == "TEXT" else word for word in more]
    refused = ended(command(*words, "--ram", "400M"))
    assert (refused.status, "does not fit in" in refused.said) == (1, True), refused.said
    assert refused.peak_bytes < CEILING_MIB * MIB


@pytest.mark.parametrize("always_page", [False, True])
def test_the_budget_that_such_a_refusal_names_works(always_page: bool) -> None:
    """By the header: nothing of the model is allocated by either call."""
    request = MemoryRequest(
        open_model(DEMO),
        400 * MIB,
        EngineOptions(context=1 << 20),
        PagingOptions(always=always_page),
    )
    with pytest.raises(Refusal) as refused:
        arrange(request)
    if refused.value.smallest_bytes > memory_limit().reachable_bytes:
        pytest.skip("this machine has less memory than that")
    enough = replace(request, ram_bytes=refused.value.smallest_bytes)
    with contextlib.closing(arrange(enough)) as arranged:
        assert arranged.plan.predicted_peak_bytes <= refused.value.smallest_bytes
