"""Measuring disk and memory: what is left behind, and what is refused. No claim about speed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sixgig.hardware import Absent
from sixgig.hardware import measuring as measuring_module
from sixgig.hardware.measuring import BLOCKS, DiskReads, measure_disk, measure_memory

MIB = 1 << 20


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring_module, "SMALLEST_FILE", 4 * MIB)
    monkeypatch.setattr(measuring_module, "LARGEST_FILE", 8 * MIB)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def reads(path: Path) -> DiskReads:
    found = measure_disk(path, seconds=0.01)
    assert isinstance(found, DiskReads), found
    return found


def test_a_file_is_read_with_each_size_of_block(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(8 * MIB))
    assert [rate.block_bytes for rate in reads(tmp_path / "file").rates] == list(BLOCKS)
    assert all(rate.bytes_per_s > 0 for rate in reads(tmp_path / "file").rates)


def test_a_folder_is_as_empty_afterwards_as_before(tmp_path: Path) -> None:
    assert len(reads(tmp_path).rates) == len(BLOCKS)
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_the_file_goes_even_when_the_measurement_is_broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    seen: list[int] = []

    def broken(path: Path, *_arguments: object) -> None:
        seen.append(path.stat().st_size)
        raise error

    monkeypatch.setattr(measuring_module, "disk_read_bandwidth", broken)
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            measure_disk(tmp_path)
    else:
        assert isinstance(measure_disk(tmp_path), Absent)
    assert len(seen) == 1 and seen[0] > 0 and names(tmp_path) == []


def test_a_large_model_in_the_folder_is_read_instead_of_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/small.gguf").write_bytes(os.urandom(4 * MIB))
    (tmp_path / "sub/large.gguf").write_bytes(os.urandom(9 * MIB))
    (tmp_path / "larger.bin").write_bytes(os.urandom(10 * MIB))
    (tmp_path / "hollow.gguf").touch()
    os.truncate(tmp_path / "hollow.gguf", 64 * MIB)
    monkeypatch.setattr(measuring_module, "_written_file", lambda *_: pytest.fail("wrote a file"))
    measured: list[str] = []
    really_read = measuring_module._reads

    def read(path: Path, seconds: float, check: Callable[[], object]) -> DiskReads:
        measured.append(path.name)
        return really_read(path, seconds, check)

    monkeypatch.setattr(measuring_module, "_reads", read)
    reads(tmp_path)
    assert measured == ["large.gguf"]


@pytest.mark.parametrize(
    ("free_bytes", "why"), [(30 * MIB, "too little free space"), (0, "too little free space")]
)
def test_a_full_disk_is_not_filled_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, why: str
) -> None:
    status = os.statvfs(tmp_path)
    full = os.statvfs_result((1, 1, *status[2:4], free_bytes, *status[5:]))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    found = measure_disk(tmp_path)
    assert isinstance(found, Absent) and why in found.reason
    assert names(tmp_path) == []


def test_a_hollow_file_tells_nothing_about_the_disk(tmp_path: Path) -> None:
    (tmp_path / "hollow").touch()
    os.truncate(tmp_path / "hollow", 64 * MIB)
    found = measure_disk(tmp_path / "hollow")
    assert isinstance(found, Absent) and "sparse" in found.reason


@pytest.mark.parametrize("name", ["absent", "short", "\0"])
def test_what_cannot_be_measured_is_absent_with_a_reason(tmp_path: Path, name: str) -> None:
    (tmp_path / "short").write_bytes(b"short")
    found = measure_disk(tmp_path / name)
    assert isinstance(found, Absent) and found.reason


def test_a_slow_card_is_not_written_to_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring_module, "_LONGEST_WRITE_S", 0.0)
    monkeypatch.setattr(measuring_module, "_PIECE", MIB)
    sizes: list[int] = []
    monkeypatch.setattr(measuring_module, "_reads", lambda path, *_: sizes.append(path.stat().st_size))
    measure_disk(tmp_path)
    assert sizes == [4 * MIB]


def test_memory_takes_a_quarter_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring_module, "cache_bytes", lambda: 2 * MIB)
    taken: list[int] = []
    really_measure = measuring_module.memory_bandwidth

    def measure(threads: int, seconds: float, array_bytes: int) -> object:
        taken.append(threads * array_bytes)
        return really_measure(threads, seconds, array_bytes)

    monkeypatch.setattr(measuring_module, "memory_bandwidth", measure)
    for available, expected in ((1 << 40, 16 * MIB), (20 * MIB, 5 * MIB)):
        rate = measure_memory(2, available, seconds=0.01)
        assert isinstance(rate, float) and rate > 0
        assert taken.pop() == expected


def test_memory_too_small_to_get_past_the_caches_is_absent() -> None:
    found = measure_memory(2, 100 * MIB)
    assert isinstance(found, Absent) and "100.00 MiB available" in found.reason


def test_arrays_that_the_system_refuses_are_an_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(measuring_module, "memory_bandwidth", refuse)
    assert isinstance(measure_memory(2, 1 << 40), Absent)


def test_a_measurement_that_is_killed_leaves_no_file(tmp_path: Path) -> None:
    """A run that was killed once left 117 MB beside the model."""
    program = (
        "import sys; from pathlib import Path; from sixgig.hardware import measuring\n"
        "measuring.LARGEST_FILE = measuring.SMALLEST_FILE\n"
        "with measuring._written_file(Path(sys.argv[1])): print('written', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"written\n"
    process.kill()
    process.communicate()
    assert list(tmp_path.iterdir()) == []
