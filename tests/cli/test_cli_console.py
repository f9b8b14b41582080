"""Long work says how far it is where nobody looks at a bar: in lines, not too many, with the time left."""

import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.utils.tqdm import _get_progress_bar_context
from hypothesis import given
from hypothesis import strategies as st

from sixgig.cli import console
from sixgig.cli.console import LoadingBar, LogLines, Pace, PromptBar, download_bar
from sixgig.cli.reporter import TerminalReporter
from sixgig.cli.tune_bar import TuningBar
from sixgig.jobs.opening import fetched
from tests.null.test_hub import FakeHub

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "FIRST_LINE_S", 0.05)
    monkeypatch.setattr(console, "LATE_S", 0.01)


def said_within(capsys: Capture, *words: str, move: Callable[[float], object] = float) -> None:
    """Until stderr got `words`; meanwhile `move` is told how long it has been, in minutes."""
    said, began_s = "", time.monotonic()
    while not all(re.search(word, said) for word in words):
        passed_s = time.monotonic() - began_s
        assert passed_s < 60, said
        move(passed_s / 60)
        time.sleep(0.01)
        said += capsys.readouterr().err


@pytest.mark.usefixtures("soon")
def test_work_that_takes_long_says_what_is_done_and_what_is_left(capsys: Capture) -> None:
    with PromptBar("calibrating") as bar:
        said_within(capsys, r"calibrating: 0% after \d+ s\n")
        said_within(
            capsys, r"calibrating: 2[5-9]% after \d+ s, about .* left\n", move=lambda x: bar(0.25 + x)
        )
    capsys.readouterr()
    time.sleep(0.15)
    assert capsys.readouterr().err == "", "nothing once it is over"


def test_a_phase_of_long_work_says_that_it_begins(capsys: Capture) -> None:
    with PromptBar("converting", begins=True):
        assert capsys.readouterr().err == "converting ...\n"
    with PromptBar("reading the prompt"):
        assert capsys.readouterr().err == ""
    assert capsys.readouterr().err == "", "and work that is quickly done no more than that"


@pytest.mark.usefixtures("soon")
def test_a_model_that_loads_long_says_how_many_bytes(capsys: Capture) -> None:
    with LoadingBar("loading", 4 << 30) as bar:
        said_within(capsys, "loading: 0 B of 4.00 GiB")
        bar(0.5)
        said_within(capsys, "loading: 2.00 GiB of 4.00 GiB")


@pytest.mark.usefixtures("soon")
def test_a_download_says_how_many_bytes_are_here(capsys: Capture) -> None:
    """With huggingface_hub's own code that makes and moves the bar."""
    make = partial(_get_progress_bar_context, desc="a.gguf", log_level=30, tqdm_class=download_bar())
    with make(total=4 << 20, initial=1 << 20) as bar:
        said_within(capsys, "fetching a.gguf ...", r"fetching a.gguf: 1.00 MiB of 4.00 MiB after \d+ s\n")
        bar.update(1 << 20)
        said_within(
            capsys, "fetching a.gguf: 2.0. MiB of 4.00 MiB after .* left", move=lambda x: bar.update(9)
        )
    capsys.readouterr()
    time.sleep(0.15)
    assert capsys.readouterr().err == ""


def test_what_is_fetched_is_shown_with_that_bar(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub, used = FakeHub(tmp_path, ["a-Q4_K_M.gguf"]).install(monkeypatch), list[object]()

    def download(repository: str, file: str, local_files_only: bool, tqdm_class: object) -> str:
        used.append(tqdm_class)
        return hub.hf_hub_download(repository, file, local_files_only)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert fetched("hf:owner/repo", TerminalReporter()).name == "a-Q4_K_M.gguf"
    assert [getattr(one, "__name__", "") for one in used] == ["DownloadLines"]


@pytest.mark.usefixtures("soon")
def test_a_tuning_run_says_its_steps_between_held_out_losses(capsys: Capture) -> None:
    with TuningBar(20):
        said_within(capsys, "tuning: no step of 20 done")


def test_the_lines_become_fewer_the_longer_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day's work is some hundred lines, and never silent for more than five minutes."""
    pauses, clock = list[float](), [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(console, "say", lambda line: None)

    def wait(pause_s: float) -> bool:
        pauses.append(pause_s)
        clock[0] += pause_s
        return clock[0] > 86400

    lines = LogLines("a day")
    monkeypatch.setattr(lines._over, "wait", wait)
    lines._tell()
    assert pauses[:2] == [10, 10] and max(pauses) == 300 and len(pauses) < 350


@given(st.floats(1, 1000), st.integers(2, 50))
def test_steady_work_is_done_when_it_was_said_to_be(total_s: float, n: int) -> None:
    pace = Pace(0.0)
    for number in range(1, n):
        now_s = total_s * number / n
        pace.reached(number / n, now_s)
        assert pace.left_s(now_s) == pytest.approx(total_s - now_s, rel=1e-6)


def test_what_an_earlier_run_did_does_not_count_as_fast() -> None:
    """Half of it was there: the other half takes as long as it takes now."""
    pace = Pace(0.0, 0.5)
    for second in range(1, 11):
        pace.reached(0.5 + second / 100, second)
    assert pace.left_s(10) == pytest.approx(40)


def test_a_hardly_told_latest_half_is_judged_by_the_whole() -> None:
    """A third of the work in twelve seconds and next to nothing since are not hours to come."""
    pace = Pace(0.0)
    pace.reached(0.33, 12.0)
    pace.reached(0.332, 19.9)
    assert pace.left_s(30.0) == pytest.approx(30 * 0.668 / 0.332)


def test_work_that_stands_still_promises_nothing() -> None:
    pace = Pace(0.0)
    assert pace.left_s(0.0) is None and pace.left_s(60.0) is None
    pace.reached(0.5, 10.0)
    assert pace.left_s(15.0) == pytest.approx(15) and pace.left_s(100.0) is None
