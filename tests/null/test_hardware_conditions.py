"""What disturbed a measurement, from counters that are made up; and that this system's can be read."""

from dataclasses import replace
from pathlib import Path

import pytest

from sixgig.hardware.cgroup import throttled_s
from sixgig.hardware.conditions import CALM, DISTURBED, Conditions, Reading, Watch, between, look, read_now
from sixgig.hardware.load import LoadReading
from tests.null.test_hardware_load import tree

BEFORE = Reading(LoadReading(10.0, 100.0, 5.0), 10.0, 3.0, {"sda": 1 << 30, "dm-0": 1 << 30}, 1 << 20)
MIB = 1 << 20


def after(seconds: float = 2.0, others: float = 0.0, ours: float = 1.0, **changes: object) -> Reading:
    """Some seconds later, `others` processors busy besides ours."""
    load = LoadReading(10.0 + seconds, 100.0 + (others + ours) * seconds, 5.0 + ours * seconds)
    return replace(BEFORE, load=load, at_s=10.0 + seconds, **changes)  # type: ignore[arg-type]


def moved(size: int, own: int) -> dict[str, object]:
    """Through one disk and the layer on it."""
    counts = {name: count + size for name, count in (BEFORE.moved or {}).items()}
    return {"moved": counts, "own_bytes": BEFORE.own_bytes + own}


def test_a_machine_alone_is_calm() -> None:
    assert between(BEFORE, after(ours=8)) == CALM and not CALM.explain("disk") + CALM.explain("processors")
    assert between(BEFORE, after(**moved(900 * MIB, 900 * MIB))).taken_from("disk") == pytest.approx(
        0, abs=1e-6
    )


@pytest.mark.parametrize(
    ("reading", "of_processors", "of_disk", "words"),
    [
        (after(others=1.7), 1.7, 0.0, "others kept 1.7 processors busy"),
        (after(throttled_s=4.0), 0.5, 0.5, "a quota stopped this process for 50% of the time"),
        (after(**moved(400 * MIB, 100 * MIB)), 0.0, 0.75, "others moved 75% of the disk's bytes"),
        (after(on_battery=True), 0.5, 0.0, "the machine ran on its battery"),
    ],
)
def test_each_disturbance_counts_for_what_it_takes_from(
    reading: Reading, of_processors: float, of_disk: float, words: str
) -> None:
    found = between(BEFORE, reading)
    assert found.taken_from("processors") == pytest.approx(of_processors)
    assert found.taken_from("disk") == pytest.approx(of_disk)
    told = {found.explain("processors"), found.explain("disk")} - {""}
    assert told == {words} and max(of_processors, of_disk) >= DISTURBED


def test_a_log_that_is_written_disturbs_nobody() -> None:
    assert between(BEFORE, after(**moved(MIB // 2, 0))).taken_from("disk") == 0


def test_what_a_system_does_not_tell_and_too_short_a_time_count_as_nothing() -> None:
    nothing = Reading(None, 10.0)
    assert between(nothing, replace(nothing, at_s=12.0)) == CALM
    assert between(BEFORE, after(seconds=0.001, others=50)) == CALM
    assert between(BEFORE, BEFORE) == CALM


def test_a_disk_that_came_meanwhile_is_no_traffic() -> None:
    assert between(BEFORE, after(moved={**(BEFORE.moved or {}), "sdb": 1 << 40})).taken_from("disk") == 0


def test_a_watch_reads_when_it_is_made_and_when_it_is_asked() -> None:
    readings = iter([BEFORE, after(others=1), after(others=2)])
    watch = Watch(lambda: next(readings))
    assert [round(watch.conditions().others) for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(
    ("files", "seconds"),
    [
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/cgroup.controllers": "cpu",
                "sys/fs/cgroup/a/cpu.stat": "nr_throttled 2\nthrottled_usec 1500000\n",
                "sys/fs/cgroup/a/b/cpu.stat": "usage_usec 9\n",
            },
            1.5,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/a\n",
                "sys/fs/cgroup/cpu/a/cpu.stat": "nr_periods 2\nthrottled_time 2500000000\n",
            },
            2.5,
        ),
        ({}, 0.0),
    ],
)
def test_a_quotas_stops_are_read_of_both_versions(
    tmp_path: Path, files: dict[str, str], seconds: float
) -> None:
    assert throttled_s(tree(tmp_path, files)) == seconds


def test_this_system_can_be_read() -> None:
    now = read_now()
    assert now.at_s > 0 and now.throttled_s >= 0 and now.own_bytes >= 0
    found = look(0.06)
    assert isinstance(found, Conditions) and found.others >= 0 and 0 <= found.taken_from("disk") <= 1
