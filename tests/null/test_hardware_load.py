"""What others make of the processors, from a fake /proc/stat and on this machine."""

import os
import time
from pathlib import Path

import pytest

from sixgig.hardware.load import LoadReading, others_between, others_now, read_load
from tests.null.test_hardware_memory import tree

TICKS = os.sysconf("SC_CLK_TCK")
STAT = """cpu  9 9 9 9 9 9 9 9 9 9
cpu0 {0} {0} 0 777 888 0 0 0 0 0
cpu2 0 0 {0} 777 888 0 0 {0} {0} 0
cpu11 {0} 0 0 1 1
intr 5
"""


@pytest.mark.parametrize(("watched", "seconds"), [((), 5), ((0, 2), 4), ((11,), 1), ((0,), 2)])
def test_time_is_busy_when_not_idle_and_stolen_time_is(watched, seconds, tmp_path: Path) -> None:
    reading = read_load(watched, tree(tmp_path, {"proc/stat": STAT.format(TICKS)}))
    assert reading is not None and reading.busy_s == seconds


@pytest.mark.parametrize("text", ["", "cpu0 x", "cpu0 1 2", "cpu1 1 1 1 1 1", "\0"])
def test_a_system_that_does_not_tell_gives_no_reading(text, tmp_path: Path) -> None:
    assert read_load((0,), tree(tmp_path, {"proc/stat": text})) is None
    (tmp_path / "proc/stat").unlink()
    assert read_load((), tmp_path) is None


def test_our_own_time_is_not_others() -> None:
    before = LoadReading(at_s=10, busy_s=100, own_s=20)
    assert others_between(before, LoadReading(12, 104, 22)) == 1
    assert others_between(before, LoadReading(12, 102, 22.1)) == 0
    assert others_between(before, before) == 0


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="Linux")
def test_this_machines_load_is_measured_and_our_spinning_left_out() -> None:
    assert 0 <= others_now(seconds=0.02) <= (os.cpu_count() or 1) + 1
    before = read_load()
    until = time.process_time() + 0.2
    while time.process_time() < until:
        continue
    after = read_load()
    assert before is not None and after is not None
    assert after.own_s - before.own_s >= 0.2
    assert after.busy_s - before.busy_s >= 0.15  # so that what is taken off is in what it is taken from
