"""Long work says how far it is where nobody looks at a bar: in lines, not too many, with the time left."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.cli import console
from sixgig.cli.console import LoadingBar, LogLines, Pace, PromptBar
from sixgig.cli.tune_bar import TuningBar
from sixgig.finetune.state import Progress

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "FIRST_LINE_S", 0.05)
    monkeypatch.setattr(console, "LATE_S", 0.01)


def said_within(capsys: Capture, *words: str) -> str:
    """All that stderr got until `words` are in it."""
    said, end_s = "", time.monotonic() + 60
    while not all(word in said for word in words):
        assert time.monotonic() < end_s, said
        time.sleep(0.01)
        said += capsys.readouterr().err
    return said


@pytest.mark.usefixtures("soon")
def test_work_that_takes_long_says_what_is_done_and_what_is_left(capsys: Capture) -> None:
    with PromptBar("calibrating") as bar:
        said_within(capsys, "calibrating: 0% after 0 s")
        bar(0.25)
        said_within(capsys, "calibrating: 25% after 0 s, about ", " left")
        time.sleep(0.02)
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
    with LoadingBar("loading") as bar:
        said_within(capsys, "loading: nothing read yet")
        bar.expect(4 << 30)
        bar(0.5)
        said_within(capsys, "loading: 2.00 GiB of 4.00 GiB")


@pytest.mark.usefixtures("soon")
def test_a_tuning_run_says_its_steps_between_held_out_losses(capsys: Capture) -> None:
    run = Progress()
    with TuningBar(20) as bar:
        bar.began(run)
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


def test_work_that_stands_still_promises_nothing() -> None:
    pace = Pace(0.0)
    assert pace.left_s(0.0) is None and pace.left_s(60.0) is None
    pace.reached(0.5, 10.0)
    assert pace.left_s(15.0) == pytest.approx(15) and pace.left_s(100.0) is None
