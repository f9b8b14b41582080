"""Energy counters from a fake sysfs and a fake NVML."""

from pathlib import Path

import pytest

from sixgig.hardware import Absent, Meter
from sixgig.hardware.meters import energy_meters
from tests.null.fake_nvml import GTX_1060, FakeNvml


@pytest.fixture(autouse=True)
def no_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml([], driver=None).install(monkeypatch)


def zone(root: Path, name: str, label: str) -> Path:
    folder = root / "sys/class/powercap" / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{label}\n")
    (folder / "energy_uj").write_text("123\n")
    return root


def test_readable_counters_give_joules(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0")
    zone(tmp_path, "intel-rapl:0:1", "dram")
    zone(tmp_path, "intel-rapl-mmio:0", "package-0")
    assert energy_meters(tmp_path) == (Meter("RAPL package-0", "joules"), Meter("RAPL dram", "joules"))


def test_a_counter_for_root_only_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really_read = Path.read_text

    def refuse(path: Path, *arguments: str, **options: str) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return really_read(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    (meter,) = energy_meters(zone(tmp_path, "intel-rapl:0", "package-0"))
    assert meter == Meter("RAPL package-0", Absent("root only (CVE-2020-8694)"))


@pytest.mark.parametrize(("flags", "why"), [("hypervisor", "virtual machine"), ("avx2", "intel_rapl_common")])
def test_a_machine_without_counters_says_why(
    tmp_path: Path, flags: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"flags : {flags}\n")
    (meter,) = energy_meters(tmp_path)
    assert isinstance(meter.reads, Absent) and why in meter.reads.reason


@pytest.mark.parametrize(
    ("answers", "reads"),
    [({"nvmlDeviceGetTotalEnergyConsumption": 5}, "joules"), ({}, "watts")],
)
def test_a_gpu_gives_joules_or_else_watts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: dict[str, int], reads: str
) -> None:
    FakeNvml([GTX_1060 | answers]).install(monkeypatch)
    assert energy_meters(tmp_path)[-1] == Meter("NVIDIA GeForce GTX 1060 6GB", reads)


def test_a_gpu_that_tells_neither_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml([{"nvmlDeviceGetName": "Old"}]).install(monkeypatch)
    meter = energy_meters(tmp_path)[-1]
    assert meter.name == "Old" and isinstance(meter.reads, Absent)
