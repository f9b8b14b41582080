"""Which cores are computed on: real processors as sysfs shows them, and the choice on any processor."""

import os
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.hardware import cores as room
from sixgig.hardware.cores import Cores, LogicalCpu, choose_cores, threads_beside, usable_cores
from sixgig.hardware.sysfs import numbers
from tests.null.test_hardware_memory import tree, v2

CPU = "sys/devices/system/cpu"


def processor(
    cores: list[tuple[int, ...]], speeds: dict[int, int] | None = None, speed_file: str = "cpu_capacity"
) -> dict[str, object]:
    """Files of a processor: the threads of each core, and what a file tells about each thread."""
    files: dict[str, object] = {f"{CPU}/online": f"0-{max(max(core) for core in cores)}"}
    for core in cores:
        for number in core:
            files[f"{CPU}/cpu{number}/topology/core_cpus_list"] = ",".join(map(str, core))
    return files | {f"{CPU}/cpu{number}/{speed_file}": speed for number, speed in (speeds or {}).items()}


def pairs(first: int, count: int) -> list[tuple[int, ...]]:
    """Cores of two threads with neighbouring numbers."""
    return [(number, number + 1) for number in range(first, first + 2 * count, 2)]


def singles(first: int, count: int) -> list[tuple[int, ...]]:
    return [(number,) for number in range(first, first + count)]


def hybrid(fast: int, slow: int) -> dict[str, object]:
    """An Intel processor of two kinds of core, whose kernel names them."""
    files = processor([*pairs(0, fast), *singles(2 * fast, slow)])
    kinds = {"cpu_core": f"0-{2 * fast - 1}", "cpu_atom": f"{2 * fast}-{2 * fast + slow - 1}"}
    return files | {f"sys/devices/{kind}/cpus": text for kind, text in kinds.items()}


HYBRID_20 = hybrid(6, 8)
PHONE = dict(enumerate([250] * 4 + [870] * 3 + [1024]))
MIXED_ZEN = {number: 5_100_000 if number < 8 else 3_300_000 for number in range(24)}
FAVOURED = {number: 5_700_000 if number < 4 else 5_400_000 for number in range(16)}
PROCESSORS = {
    "14 cores, 20 threads": (HYBRID_20, 6, 14, 20),
    "24 cores, 32 threads": (hybrid(8, 16), 8, 24, 32),
    "8 cores, 16 threads, siblings far apart": (processor([(n, n + 8) for n in range(8)]), 8, 8, 16),
    "favoured cores of one kind": (processor(pairs(0, 8), FAVOURED, "cpufreq/cpuinfo_max_freq"), 8, 8, 16),
    "two kinds told by frequency": (
        processor(pairs(0, 12), MIXED_ZEN, "cpufreq/cpuinfo_max_freq"), 4, 12, 24,
    ),
    "Raspberry Pi 5": (processor(singles(0, 4), dict.fromkeys(range(4), 1024)), 4, 4, 4),
    "big.LITTLE": (processor(singles(0, 8), dict(enumerate([446] * 4 + [1024] * 4))), 4, 8, 8),
    "phone of three kinds": (processor(singles(0, 8), PHONE), 4, 8, 8),
    "virtual machine without topology": ({f"{CPU}/online": "0-3"}, 4, 4, 4),
    "nothing told but cpuinfo": ({"proc/cpuinfo": "processor : 0\nsiblings\t: 4\ncpu cores\t: 2\n"}, 2, 2, 4),
    "nothing told": ({}, 4, 4, 4),
    "damaged": ({f"{CPU}/cpu0/topology/core_cpus_list": "0-x", f"{CPU}/online": "9-"}, 4, 4, 4),
}  # fmt: skip


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> object:
    def set_mask(mask: Collection[int]) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(mask), raising=False)

    return set_mask


@pytest.mark.parametrize("name", PROCESSORS)
def test_one_thread_computes_on_each_physical_performance_core(name, tmp_path: Path, allow) -> None:
    files, performance, physical, logical = PROCESSORS[name]
    allow(range(logical))
    found = usable_cores(tree(tmp_path, files))
    assert (found.performance, found.physical, found.logical) == (performance, physical, logical)


@pytest.mark.parametrize(
    ("mask", "performance", "physical"),
    [((0, 1, 2, 3), 2, 2), ((0, 2, 12, 13), 2, 4), ((12, 13, 14), 3, 3), ((1,), 1, 1)],
)
def test_only_cores_in_the_affinity_mask_count(mask, performance, physical, tmp_path: Path, allow) -> None:
    allow(mask)
    found = usable_cores(tree(tmp_path, HYBRID_20))
    assert (found.performance, found.physical, found.cpus) == (performance, physical, frozenset(mask))


def test_a_core_that_is_off_line_does_not_count(tmp_path: Path, allow) -> None:
    allow(range(8))
    files = processor(singles(0, 8)) | {f"{CPU}/online": "0,2-4"}
    assert usable_cores(tree(tmp_path, files)).performance == 4


@pytest.mark.parametrize(("quota", "threads"), [(150_000, 1), (50_000, 1), (299_999, 2), (1_600_000, 6)])
def test_a_quota_is_rounded_down_to_whole_processors(quota, threads, tmp_path: Path, allow) -> None:
    allow(range(20))
    files = HYBRID_20 | v2(a__b__cpu_dot_max="max 100000", a__cpu_dot_max=f"{quota} 100000")
    assert usable_cores(tree(tmp_path, files)).performance == threads


def test_macos_tells_its_performance_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr("psutil.cpu_count", lambda logical: 16)
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr(room, "_sysctl", {"hw.perflevel0.physicalcpu": 12}.get)
    assert usable_cores() == Cores(12, 16, 16)
    monkeypatch.setattr(room, "_sysctl", lambda _name: None)  # an Intel Mac
    assert usable_cores() == Cores(16, 16, 16)


def cpus(most: int = 40) -> st.SearchStrategy[list[LogicalCpu]]:
    made = st.builds(LogicalCpu, st.integers(0, 300), st.integers(0, 30), st.booleans())
    return st.lists(made, max_size=most, unique_by=lambda cpu: cpu.number)


@given(cpus(), st.none() | st.floats(0, 64), st.integers(1, 4))
def test_the_choice_keeps_within_cores_and_quota(found, quota, threads_per_core) -> None:
    cores = choose_cores(found, quota, threads_per_core)
    assert 1 <= cores.performance <= cores.physical <= max(1, len({cpu.core for cpu in found}))
    assert quota is None or cores.performance <= max(1, quota)
    assert cores.logical >= cores.physical


@given(st.integers(1, 64), st.integers(0, 64), st.floats(0, 200), st.floats(0, 200))
def test_threads_beside_others_fall_with_their_load_to_half_and_no_further(
    performance, slow, one, two
) -> None:
    cores = Cores(performance, performance + slow, performance + slow)
    less, more = sorted((one, two))
    assert performance >= threads_beside(cores, less) >= threads_beside(cores, more) >= performance / 2 > 0
    assert threads_beside(cores, 0.49) == performance


def test_others_take_slow_cores_first() -> None:
    assert [threads_beside(Cores(6, 14, 20), others) for others in (0, 1, 8, 10, 40)] == [6, 6, 6, 4, 3]
    assert [threads_beside(Cores(2, 2, 2), others) for others in (0, 0.4, 0.6, 1, 7)] == [2, 2, 1, 1, 1]


@given(st.text("0123456789-, x", max_size=12))
def test_a_damaged_list_of_numbers_raises_nothing(text) -> None:
    assert all(number >= 0 for number in numbers(text))
