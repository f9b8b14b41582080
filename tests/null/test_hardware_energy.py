"""Joules between two moments: exact, a wrapped counter included; absent with the reason, never 0."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.hardware import Absent
from sixgig.hardware.energy import EnergyReading, joules_between, read_energy

WRAP = 262_143_328_850


def counters(root: Path, *microjoules: int) -> Path:
    for number, value in enumerate(microjoules):
        zone = root / f"sys/class/powercap/intel-rapl:{number}"
        zone.mkdir(parents=True, exist_ok=True)
        (zone / "name").write_text(f"package-{number}\n")
        (zone / "energy_uj").write_text(f"{value}\n")
        (zone / "max_energy_range_uj").write_text(f"{WRAP}\n")
    return root


def test_all_packages_count_and_their_parts_do_not(tmp_path: Path) -> None:
    before = read_energy(counters(tmp_path, 1_000_000, 5_000_000))
    core = tmp_path / "sys/class/powercap/intel-rapl:0:0"
    core.mkdir()
    (core / "energy_uj").write_text("77000000")
    after = read_energy(counters(tmp_path, 4_000_000, 5_500_000))
    assert joules_between(before, after) == pytest.approx(3.5)


@given(st.integers(0, WRAP), st.integers(0, WRAP))
def test_a_counter_that_went_back_has_wrapped_once(began: int, used: int) -> None:
    before = EnergyReading((("p", began, WRAP),))
    after = EnergyReading((("p", (began + used) % (WRAP + 1), WRAP),))
    assert joules_between(before, after) == pytest.approx(used * 1e-6)


def test_no_counter_is_absent_with_a_reason(tmp_path: Path) -> None:
    found = read_energy(tmp_path)
    assert isinstance(found, Absent) and found.reason
    reading = EnergyReading((("p", 0, WRAP),))
    assert joules_between(found, reading) is found and joules_between(reading, found) is found


def test_a_damaged_counter_is_absent_not_zero(tmp_path: Path) -> None:
    counters(tmp_path, 1)
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").write_text("lots")
    assert isinstance(read_energy(tmp_path), Absent)


def test_counters_that_changed_meanwhile_tell_nothing() -> None:
    one, other = (EnergyReading(((name, 5, WRAP),)) for name in "ab")
    assert isinstance(joules_between(one, other), Absent)
