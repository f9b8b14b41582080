"""Signals that end a run: as Ctrl-C, at a moment that tears nothing, with the signal's own exit status."""

import os
import signal
import subprocess
import sys

import pytest

from sixgig.interrupts import InterruptShield, Terminated, ended_as_by_ctrl_c

ENDED = [signal.SIGTERM, signal.SIGHUP]
VERB = """
import os, pkgutil, sys
from sixgig.cli.main import main

def ends(*arguments, **options):
    os.kill(os.getpid(), int(sys.argv[1]))

place, _, name = "{job}".rpartition(".")
setattr(pkgutil.resolve_name(place), name, ends)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("number", ENDED)
def test_what_heeds_ctrl_c_heeds_a_signal_that_ends_a_run(number: signal.Signals) -> None:
    before, steps = signal.getsignal(number), list[str]()
    with pytest.raises(KeyboardInterrupt) as raised, ended_as_by_ctrl_c():
        with InterruptShield() as shield:
            os.kill(os.getpid(), number)
            steps.append("what must be whole")
            assert shield.pending
        steps.append("never")
    assert isinstance(raised.value, Terminated) and raised.value.number == number
    assert steps == ["what must be whole"]
    assert signal.getsignal(number) == before


def test_a_run_under_nohup_outlives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_as_by_ctrl_c():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_of_several_signals_the_first_is_delivered() -> None:
    with pytest.raises(Terminated) as raised, ended_as_by_ctrl_c(), InterruptShield():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    assert raised.value.number == signal.SIGTERM


@pytest.mark.parametrize("number", ENDED)
@pytest.mark.parametrize(
    ("job", "arguments"),
    [
        (
            "sixgig.jobs.shrink.shrink",
            ["shrink", "m.gguf", "-o", "o.gguf", "--text", "t.txt", "--size", "1G"],
        ),
        ("sixgig.jobs.score.score", ["score", "--text", "t.txt"]),
    ],
)
def test_verbs_that_work_for_long_end_in_order(
    job: str, arguments: list[str], number: signal.Signals
) -> None:
    code = VERB.format(job=job)
    done = subprocess.run(
        [sys.executable, "-c", code, str(int(number)), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 128 + number and "Traceback" not in done.stderr
