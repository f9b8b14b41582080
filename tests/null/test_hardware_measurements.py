"""The cache of measurements: found again under the same hardware, ignored when damaged, never in the way."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sixgig.hardware import (
    Absent,
    Cpu,
    Disk,
    Kernels,
    KernelSpeed,
    Machine,
    Memory,
    ReadRate,
    disturbances,
    kernels_are_due,
    measured,
    remember_kernels,
    remembered,
)
from sixgig.hardware import measurements as measurements_module
from sixgig.hardware.conditions import Conditions
from sixgig.hardware.measurements import cache_path
from sixgig.hardware.measuring import DiskReads

MACHINE = Machine(
    "m", "probed", "Linux", Cpu("Some CPU", "x86_64", 4, 8), Memory(16 << 30, 8 << 30),
    Disk("Some SSD, 1 TiB", "ext4", False, 1 << 39),
)  # fmt: skip
RATES = (ReadRate(1 << 16, 1e8), ReadRate(1 << 20, 1e9))
KERNELS = Kernels(
    engine="build 1", threads=4, step_s=1e-6, row_s=1e-8, row_width=4096,
    speeds=(KernelSpeed(type="Q4_K", decode=2e10, prompt=5e10),),
)  # fmt: skip


class Measuring:
    """Counts, and gives rates that were not there before."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.rate: float | Absent = 5e9
        self.reads: DiskReads | Absent = DiskReads(RATES, direct=False)

    def run(self, machine: Machine = MACHINE, again: bool = False) -> Machine:
        self.said.clear()
        return measured(machine, Path("/"), again, self.said.append)


@pytest.fixture
def measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measuring:
    made = Measuring()
    monkeypatch.setattr(measurements_module.platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    monkeypatch.setattr(measurements_module, "measure_memory", lambda cores, available: made.rate)
    monkeypatch.setattr(measurements_module, "measure_disk", lambda path, check: made.reads)
    return made


def test_what_was_measured_once_is_not_measured_again(measuring: Measuring) -> None:
    first = measuring.run()
    assert measuring.said == ["measuring memory ...", "measuring the disk ..."]
    assert first.memory.bandwidth_bytes_per_s == 5e9
    assert isinstance(first.disk, Disk) and (first.disk.reads, first.disk.direct) == (RATES, False)
    assert measuring.run() == first and measuring.said == []
    assert remembered(MACHINE) == first


def test_again_measures_all_and_replaces_what_was_known(measuring: Measuring) -> None:
    measuring.run()
    measuring.rate = 6e9
    assert measuring.run(again=True).memory.bandwidth_bytes_per_s == 6e9
    assert len(measuring.said) == 2
    assert remembered(MACHINE).memory.bandwidth_bytes_per_s == 6e9


@pytest.mark.parametrize(
    "other",
    [
        replace(MACHINE, cpu=replace(MACHINE.cpu, cores=3), disk=Absent("none")),
        replace(MACHINE, memory=Memory(32 << 30, 1), disk=Disk("Other SSD", "ext4", False, 1)),
        replace(MACHINE, cpu=replace(MACHINE.cpu, name="New"), disk=Disk("Some SSD, 1 TiB", "xfs", False, 1)),
    ],
)
def test_other_hardware_is_not_what_was_measured(measuring: Measuring, other: Machine) -> None:
    measuring.run()
    assert remembered(other) == other


def test_what_changes_between_runs_is_not_remembered(measuring: Measuring) -> None:
    measuring.run()
    now = replace(MACHINE, memory=Memory(16 << 30, 123, 456, 789), disk=replace(MACHINE.disk, free_bytes=5))
    known = remembered(now)
    assert (known.memory.available_bytes, known.memory.swap_bytes) == (123, 789)
    assert isinstance(known.disk, Disk) and known.disk.free_bytes == 5


def test_a_measurement_that_failed_is_tried_again(measuring: Measuring) -> None:
    measuring.rate, measuring.reads = Absent("too little"), Absent("no space")
    failed = measuring.run()
    assert failed.memory.bandwidth_bytes_per_s == Absent("too little")
    assert isinstance(failed.disk, Disk) and failed.disk.reads == Absent("no space")
    measuring.run()
    assert len(measuring.said) == 2


def test_a_machine_without_a_disk_keeps_the_reason(measuring: Measuring) -> None:
    assert measuring.run(replace(MACHINE, disk=Absent("no such path"))).disk == Absent("no such path")
    assert measuring.said == ["measuring memory ..."]


def test_kernels_are_known_for_their_engine_build_only(measuring: Measuring) -> None:
    assert remember_kernels(MACHINE, KERNELS).kernels == KERNELS
    assert remembered(MACHINE, "build 1").kernels == KERNELS
    for engine in ("build 2", None):
        assert isinstance(remembered(MACHINE, engine).kernels, Absent)
    measuring.run(again=True)
    assert remembered(MACHINE, "build 1").kernels == KERNELS


BUSY, BUSIER = Conditions(others=1.0), Conditions(others=2.0)


@pytest.fixture
def conditions(monkeypatch: pytest.MonkeyPatch) -> list[Conditions]:
    """Its last is what prevails."""
    prevailing = [Conditions()]

    class Watch:
        def conditions(self) -> Conditions:
            return prevailing[-1]

    monkeypatch.setattr(measurements_module, "Watch", Watch)
    monkeypatch.setattr(measurements_module, "look", lambda: prevailing[-1])
    return prevailing


def test_what_was_measured_beside_others_is_measured_again_once_they_have_gone(
    measuring: Measuring, conditions: list[Conditions]
) -> None:
    conditions.append(Conditions(others=1.0, traffic=0.5))
    measuring.rate = 1e9
    noisy = measuring.run()
    assert len(measuring.said) == 2 and noisy.memory.bandwidth_bytes_per_s == 1e9
    assert disturbances(noisy) == (
        "while memory was measured, others kept 1.0 processors busy",
        "while the disk was measured, others moved 50% of the disk's bytes",
    )
    assert measuring.run() == noisy and measuring.said == [], "not while they are still there"
    conditions.append(Conditions())
    measuring.rate = 5e9
    calm = measuring.run()
    assert len(measuring.said) == 2 and calm.memory.bandwidth_bytes_per_s == 5e9
    assert disturbances(calm) == ()
    assert measuring.run() == calm and measuring.said == []


def test_a_worse_measurement_never_replaces_a_better(
    measuring: Measuring, conditions: list[Conditions]
) -> None:
    calm = measuring.run()
    conditions.append(Conditions(others=2.0, traffic=0.9))
    measuring.rate, measuring.reads = 1e8, DiskReads((ReadRate(1 << 16, 1.0),), direct=True)
    assert measuring.run(again=True) == calm == remembered(MACHINE)
    assert len(measuring.said) == 2 and disturbances(calm) == ()


def test_a_busy_processor_is_nothing_to_a_disk_nor_a_busy_disk_to_memory(
    measuring: Measuring, conditions: list[Conditions]
) -> None:
    conditions.append(Conditions(traffic=0.9))
    assert [line.split()[1:3] for line in disturbances(measuring.run())] == [["the", "disk"]]
    conditions.append(BUSY)
    measuring.run(again=True)
    assert disturbances(MACHINE) == (), "the disk's is better now, memory's is not taken"


def test_kernels_are_due_again_once_the_machine_is_calm(
    measuring: Measuring, conditions: list[Conditions]
) -> None:
    assert kernels_are_due(MACHINE)
    slow, fast = (replace(KERNELS, step_s=step_s) for step_s in (2e-6, 1e-6))
    conditions.append(BUSY)
    found = remember_kernels(MACHINE, slow, BUSY)
    assert found.kernels == slow and not kernels_are_due(found) and disturbances(found)
    assert remember_kernels(MACHINE, fast, BUSIER).kernels == slow
    conditions.append(Conditions())
    assert kernels_are_due(found)
    found = remember_kernels(MACHINE, fast, Conditions())
    assert found.kernels == fast and not kernels_are_due(found) and not disturbances(found)
    assert remember_kernels(MACHINE, slow, BUSY).kernels == fast == remembered(MACHINE, "build 1").kernels


@pytest.mark.parametrize("odd", [5, [], {"others": "much"}, {"others": -1.0}, {"new": 1.0}])
def test_conditions_that_are_damaged_count_as_calm(measuring: Measuring, odd: object) -> None:
    first = measuring.run()
    damage(lambda document: document["conditions"].update(dict.fromkeys(document["conditions"], odd)))  # type: ignore[attr-defined]
    assert disturbances(first) == () and measuring.run() == first and measuring.said == []


def test_other_instruction_sets_have_other_kernels_and_another_host_another_disk(
    measuring: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring.run()
    remember_kernels(MACHINE, KERNELS)
    other = replace(MACHINE, cpu=replace(MACHINE.cpu, isa=("avx2",)))
    assert isinstance(remembered(other, "build 1").kernels, Absent)
    monkeypatch.setattr(measurements_module.platform, "node", lambda: "elsewhere")
    elsewhere = remembered(MACHINE)
    assert isinstance(elsewhere.disk, Disk) and isinstance(elsewhere.disk.reads, Absent)


def damage(change: Callable[[dict[str, object]], object]) -> None:
    document = json.loads(cache_path().read_text())
    change(document)
    cache_path().write_text(json.dumps(document))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"{", b"[]", b"null", b'{"format": "another program"}', b"[" * 100_000],
    ids=["empty", "binary", "cut", "list", "null", "foreign", "deep"],
)
def test_a_damaged_cache_is_ignored_and_overwritten(measuring: Measuring, content: bytes) -> None:
    first = measuring.run()
    cache_path().write_bytes(content)
    assert remembered(MACHINE) == MACHINE
    measuring.run()
    assert remembered(MACHINE) == first


def test_a_damaged_entry_spoils_no_other(measuring: Measuring) -> None:
    first = measuring.run()
    damage(lambda document: document.update(memory={key: -1 for key in document["memory"]}))  # type: ignore[attr-defined, index]
    known = remembered(MACHINE)
    assert known.memory == MACHINE.memory and known.disk == first.disk
    damage(lambda document: document.update(disks=7))
    assert remembered(MACHINE) == MACHINE


def test_a_cache_that_cannot_be_written_stops_nothing(measuring: Measuring, tmp_path: Path) -> None:
    (tmp_path / "sixgig").write_text("a file where the folder should be")
    assert measuring.run().memory.bandwidth_bytes_per_s == 5e9
    assert remember_kernels(MACHINE, KERNELS).kernels == KERNELS
    assert remembered(MACHINE) == MACHINE


def test_nothing_is_left_beside_the_cache(measuring: Measuring) -> None:
    measuring.run()
    assert [path.name for path in cache_path().parent.iterdir()] == ["measurements.json"]
