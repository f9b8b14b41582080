"""sixgig.jobs.doctor: the machine and what was found, from Python, in silence, from threads, cancelled."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from sixgig.errors import Cancelled, EngineError, UsageError
from sixgig.hardware import Kernels, KernelSpeed, Machine, ReadRate, load_machine, measuring
from sixgig.hardware import measurements as measurements_module
from sixgig.hardware.measuring import DiskReads
from sixgig.inference import devices, kernels
from sixgig.jobs.doctor import DoctorResult, doctor
from sixgig.jobs.findings import Finding
from sixgig.jobs.plan import plan
from sixgig.llamacpp import WHEEL_VERSION
from tests.described import write
from tests.jobs.reporters import Canceller, Recorder

MIB = 1 << 20
MEASURE_KERNELS = kernels.measure_kernels
SPEED = KernelSpeed("Q4_K", decode=2e10, prompt=5e10)
READS = DiskReads((ReadRate(1 << 16, 1e9), ReadRate(1 << 20, 3e9)), direct=True)
MEASURING = ["measuring memory ...", "measuring the disk ...", "measuring the engine's kernels ..."]


def made_up(threads: int, progress: Callable[[float], object]) -> Kernels:
    progress(0.0)
    return Kernels(WHEEL_VERSION, threads, 3e-6, 1e-8, 4096, (SPEED,))


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Measurements of this test's own, which take no time. The file that they are kept in."""
    monkeypatch.setattr(
        measurements_module.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "kept")
    )
    monkeypatch.setattr(measurements_module, "measure_memory", lambda cores, available: 3e10)
    monkeypatch.setattr(measurements_module, "measure_disk", lambda path, check: READS)
    monkeypatch.setattr(kernels, "measure_kernels", made_up)
    return tmp_path / "kept" / "measurements.json"


def test_the_result_is_typed_and_frozen_and_nothing_is_printed(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    heard = Recorder()
    made = doctor(tmp_path, reporter=heard)
    assert isinstance(made, DoctorResult) and isinstance(made.machine, Machine)
    assert made.machine.memory.bandwidth_bytes_per_s == 3e10 and isinstance(made.machine.kernels, Kernels)
    assert made.engine.fault == "" and made.disk_path == tmp_path.resolve()
    assert all(isinstance(finding, Finding) for finding in made.findings)
    assert {finding.topic for finding in made.findings} >= {"engine", "processor", "memory", "disk"}
    assert heard.words("say") == MEASURING
    with pytest.raises(FrozenInstanceError):
        made.findings = ()  # type: ignore[misc]
    assert doctor(tmp_path).machine.kernels == made.machine.kernels  # remembered
    assert capfd.readouterr() == ("", "")


def test_what_was_measured_is_measured_again_only_where_asked(tmp_path: Path) -> None:
    doctor(tmp_path)
    anew = Recorder()
    doctor(tmp_path, again=True, reporter=anew)
    assert anew.words("say") == MEASURING


def test_a_machine_that_was_saved_is_one_to_plan_for(tmp_path: Path) -> None:
    made = doctor(tmp_path)
    made.save(tmp_path / "mine.json")
    assert load_machine(tmp_path / "mine.json") == made.machine
    model = write("qwen3-8b", tmp_path / "model.gguf")
    by_file, by_machine = (
        plan(model, ram=8 << 30, vram=0, machine=one) for one in (tmp_path / "mine.json", made.machine)
    )
    assert by_file.recommended.decode_tokens_per_s == by_machine.recommended.decode_tokens_per_s
    with pytest.raises(UsageError, match="cannot write"):
        made.save("/no/such/place/mine.json")


def test_an_engine_that_does_not_load_is_a_finding_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise EngineError("the OpenMP runtime is missing", "libgomp.so.1", "apt install libgomp1")

    monkeypatch.setattr(devices, "engine_devices", fail)
    made = doctor(tmp_path)
    assert made.engine.fault == "the OpenMP runtime is missing; libgomp.so.1"
    assert [f.cure for f in made.findings if f.topic == "engine"] == ["apt install libgomp1"]


def test_a_disk_that_is_not_there_is_refused_before_anything_is_measured() -> None:
    heard = Recorder()
    with pytest.raises(UsageError, match="/no/such/place cannot be used"):
        doctor("/no/such/place", reporter=heard)
    assert heard.told == []


def test_it_works_from_a_thread(tmp_path: Path) -> None:
    found = list[DoctorResult]()
    worker = threading.Thread(target=lambda: found.append(doctor(tmp_path)))
    worker.start()
    worker.join()
    assert [one.machine.kernels for one in found] == [doctor(tmp_path).machine.kernels]


def test_cancelled_while_kernels_are_measured_it_remembers_none(
    tmp_path: Path, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canceller, timed = Canceller("kernels"), list[str]()
    monkeypatch.setattr(kernels, "measure_kernels", MEASURE_KERNELS)
    monkeypatch.setattr(kernels._Bench, "_speed", lambda _, kind: timed.append(kind.name) or SPEED)
    with pytest.raises(Cancelled):
        doctor(tmp_path, reporter=canceller)
    assert canceller.fractions == [0.0] and len(timed) == 1
    monkeypatch.setattr(kernels, "measure_kernels", made_up)
    assert not json.loads(quick.read_text())["kernels"]
    heard = Recorder()
    doctor(tmp_path, reporter=heard)
    assert heard.words("say") == MEASURING[2:]


def test_cancelled_while_the_disk_is_measured_it_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Midway in the file that it writes: no finding that the disk cannot be measured, no file."""
    monkeypatch.setattr(measurements_module, "measure_disk", measuring.measure_disk)
    monkeypatch.setattr(measuring, "SMALLEST_FILE", 4 * MIB)
    monkeypatch.setattr(measuring, "LARGEST_FILE", 8 * MIB)
    monkeypatch.setattr(measuring, "_PIECE", MIB)

    class Impatient(Recorder):
        n_checks = 0

        def check(self) -> None:
            if self.words("say")[-1:] == MEASURING[1:2]:
                self.n_checks += 1
                if self.n_checks == 3:
                    self.cancel()
            super().check()

    disk, impatient = tmp_path / "disk", Impatient()
    disk.mkdir()
    with pytest.raises(Cancelled):
        doctor(disk, reporter=impatient)
    assert impatient.n_checks == 3 and list(disk.iterdir()) == []
