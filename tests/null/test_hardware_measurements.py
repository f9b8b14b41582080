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
    measured,
    remember_kernels,
    remembered,
)
from sixgig.hardware import measurements as measurements_module
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
    monkeypatch.setattr(measurements_module, "measure_disk", lambda path: made.reads)
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
