"""Replayed sensors give exact joules: values are multiples of 1/64 J, which binary numbers hold exactly."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.energy import ReplayMeter, WallMeter
from sixgig.energy.rapl import open_rapl
from sixgig.hardware.energy import EnergyReading
from sixgig.hardware.machine import Absent
from tests.serve.energy_traces import Clock, joules_of

STEP = 15_625  # microjoules: 1/64 J
WRAP = 4096 * STEP - 1  # 64 J


def rapl(*packages: int) -> EnergyReading:
    return EnergyReading(tuple((f"package-{n}", value, WRAP) for n, value in enumerate(packages)))


def replayed(*values: tuple[int, ...]) -> list[dict[str, float | Absent]]:
    meter = ReplayMeter.from_rapl((float(second), rapl(*value)) for second, value in enumerate(values))
    return [joules_of(meter.read()) for _ in values]


def test_joules_count_from_the_first_reading() -> None:
    assert replayed((640 * STEP,), (704 * STEP,), (705 * STEP,)) == [
        {"package-0": 0},
        {"package-0": 1},
        {"package-0": 1 + 1 / 64},
    ]


def test_a_counter_that_wraps_is_resolved() -> None:
    assert replayed((4032 * STEP,), (64 * STEP,))[-1] == {"package-0": 2}


def test_a_wrap_exactly_at_the_end_loses_nothing() -> None:
    assert replayed((WRAP,), (0,))[-1] == {"package-0": 1e-6}
    assert replayed((4095 * STEP,), (0,))[-1] == {"package-0": 1 / 64}


def test_of_two_packages_one_wraps() -> None:
    assert replayed((4032 * STEP, 0), (0, 64 * STEP))[-1] == {"package-0": 1, "package-1": 1}


def test_wraps_add_up() -> None:
    assert replayed((0,), (4032 * STEP,), (0,), (4032 * STEP,), (64 * STEP,))[-1] == {"package-0": 129}


@given(st.integers(0, 4095), st.lists(st.integers(0, 4095), min_size=1, max_size=20))
def test_any_steps_below_a_wrap_are_counted_exactly(first: int, steps: list[int]) -> None:
    values = [first]
    for step in steps:
        values.append((values[-1] + step) % 4096)
    assert replayed(*((value * STEP,) for value in values))[-1] == {"package-0": sum(steps) / 64}


def test_a_package_that_is_gone_is_absent_and_the_other_counts_on() -> None:
    meter = ReplayMeter.from_rapl(
        [(0.0, rapl(0, 0)), (1.0, rapl(64 * STEP)), (2.0, rapl(64 * STEP, 64 * STEP))]
    )
    meter.read()
    gone, back = joules_of(meter.read()), joules_of(meter.read())
    assert gone["package-0"] == 1 and isinstance(gone["package-1"], Absent)
    assert back == {"package-0": 1, "package-1": 1}


def test_a_counter_reset_by_a_suspend_is_not_taken_for_a_wrap() -> None:
    wrap = 262_143_328_850
    trace = [(0.0, 150_000_000_000), (0.5, 1_000_000), (1.0, 3_000_000), (1.5, 4_000_000)]
    meter = ReplayMeter.from_rapl((s, EnergyReading((("p", value, wrap),))) for s, value in trace)
    found = [joules_of(meter.read())["p"] for _ in trace]
    assert isinstance(found[1], Absent) and "reset" in found[1].reason
    assert [found[0], *found[2:]] == [0, 2, 3]


def test_a_trace_that_is_over_is_absent() -> None:
    meter = ReplayMeter([Absent("unplugged")])
    assert meter.read() == Absent("unplugged")
    assert meter.read() == meter.read() == Absent("the trace is over")


def zone(root: Path, number: int, name: str, microjoules: int | str) -> None:
    folder = root / f"sys/class/powercap/intel-rapl:{number}"
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", WRAP)):
        (folder / file).write_text(f"{content}\n")


def test_packages_are_read_from_the_kernel_by_name(tmp_path: Path) -> None:
    zone(tmp_path, 0, "package-0", 4032 * STEP)
    zone(tmp_path, 1, "package-1", 0)
    meter = open_rapl(tmp_path, Clock())
    assert not isinstance(meter, Absent) and meter.name == "RAPL package-0, package-1"
    zone(tmp_path, 0, "package-0", 64 * STEP)
    zone(tmp_path, 1, "package-1", 16 * STEP)
    assert joules_of(meter.read()) == {"package-0": 2, "package-1": 0.25}


def test_the_platform_does_not_count_the_packages_twice(tmp_path: Path) -> None:
    zone(tmp_path, 0, "package-0", 0)
    zone(tmp_path, 1, "psys", 0)
    meter = open_rapl(tmp_path, Clock())
    assert not isinstance(meter, Absent) and set(joules_of(meter.read())) == {"package-0"}


def test_a_kernel_file_that_fails_is_absent_and_recovers(tmp_path: Path) -> None:
    zone(tmp_path, 0, "package-0", 0)
    meter = open_rapl(tmp_path, Clock())
    assert not isinstance(meter, Absent)
    zone(tmp_path, 0, "package-0", "lots")
    assert isinstance(meter.read(), Absent)
    zone(tmp_path, 0, "package-0", 64 * STEP)
    assert joules_of(meter.read()) == {"package-0": 1}


def test_no_kernel_counter_is_absent_with_a_reason(tmp_path: Path) -> None:
    found = open_rapl(tmp_path)
    assert isinstance(found, Absent) and found.reason


def test_wall_constants_follow_what_runs() -> None:
    clock = Clock()
    meter = WallMeter(idle_watts=32, busy_watts=128, clock=clock)
    assert meter.estimated
    clock.now_s = 2
    meter.switch(True)
    clock.now_s = 2.5
    meter.switch(True)
    clock.now_s = 3
    meter.switch(False)
    clock.now_s = 4
    assert joules_of(meter.read()) == {"wall": 64 + 128 + 32}


@pytest.mark.parametrize("meter", [ReplayMeter([]), WallMeter(1, 2)])
def test_closing_twice_does_nothing(meter: ReplayMeter | WallMeter) -> None:
    meter.close()
    meter.close()
