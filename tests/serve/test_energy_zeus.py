"""Zeus, replaced by a module that answers as its 0.16 does; and the real one, which must not raise."""

import importlib
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sixgig.energy import ZeusMeter
from sixgig.energy.zeus import NOT_INSTALLED, open_zeus
from sixgig.hardware.machine import Absent
from tests.serve.energy_traces import Clock, joules_of

Install = Callable[..., None]


@dataclass
class FakeGpu:
    """millijoules None: it has no energy counter. gone: the driver's words when it answers no more."""

    name: str = "NVIDIA H100"
    millijoules: int | None = 1_000_000
    milliwatts: int = 0
    gone: str = ""

    def get_name(self) -> str:
        return self.name

    def supports_get_total_energy_consumption(self) -> bool:
        return self.millijoules is not None

    def get_total_energy_consumption(self) -> int:
        if self.gone or self.millijoules is None:
            raise RuntimeError(self.gone or "Not Supported")
        return self.millijoules

    def get_instant_power_usage(self) -> int:
        raise RuntimeError("Not Supported")

    def get_average_power_usage(self) -> int:
        return self.milliwatts


def refuse(words: str) -> Callable[[], Any]:
    def get() -> Any:
        raise RuntimeError(words)

    return get


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    def put(gpus: Any = None, cpus: Any = None, soc: Any = None) -> None:
        device: Any = SimpleNamespace(
            get_gpus=refuse("NVML unavailable. More.")
            if gpus is None
            else lambda: SimpleNamespace(gpus=gpus),
            get_cpus=refuse("RAPL unavailable") if cpus is None else lambda: SimpleNamespace(cpus=cpus),
            get_soc=refuse("no chip") if soc is None else lambda: soc,
        )
        monkeypatch.setitem(sys.modules, "zeus", SimpleNamespace(device=device))
        monkeypatch.setitem(sys.modules, "zeus.device", device)

    return put


def opened(clock: Clock | None = None) -> ZeusMeter:
    meter = open_zeus(clock or Clock())
    assert isinstance(meter, ZeusMeter)
    return meter


def test_a_gpu_counts_from_the_opening(install: Install) -> None:
    gpu = FakeGpu()
    install([gpu])
    meter = opened()
    gpu.millijoules = 1_002_500
    assert joules_of(meter.read()) == {"NVIDIA H100": 2.5}
    assert meter.name == "Zeus: NVIDIA H100" and not meter.estimated and meter.lag_s == 0.1
    assert meter.absent == {"RAPL": Absent("RAPL unavailable")}


def test_gpus_of_one_name_are_told_apart(install: Install) -> None:
    install([FakeGpu(), FakeGpu(), FakeGpu("AMD MI300")])
    assert opened().covers == ("NVIDIA H100 #0", "NVIDIA H100 #1", "AMD MI300")


def test_a_gpu_that_fails_is_absent_with_the_drivers_words_and_recovers(install: Install) -> None:
    one, other = FakeGpu("one"), FakeGpu("other")
    install([one, other])
    meter = opened()
    one.gone = "GPU is lost"
    assert joules_of(meter.read()) == {"one": Absent("GPU is lost"), "other": 0}
    one.gone, one.millijoules = "", 1_004_000
    assert joules_of(meter.read()) == {"one": 4, "other": 0}


def test_a_driver_that_was_reloaded_is_absent_once(install: Install) -> None:
    gpu = FakeGpu()
    install([gpu])
    meter = opened()
    gpu.millijoules = 0
    assert isinstance(joules_of(meter.read())["NVIDIA H100"], Absent)
    gpu.millijoules = 500
    assert joules_of(meter.read()) == {"NVIDIA H100": 0.5}


def test_a_gpu_without_a_counter_is_integrated_and_called_an_estimate(install: Install) -> None:
    clock, gpu = Clock(), FakeGpu("GTX 1060", millijoules=None, milliwatts=32_000)
    install([gpu])
    meter = opened(clock)
    clock.now_s, gpu.milliwatts = 2, 64_000
    assert joules_of(meter.read()) == {"GTX 1060": 96}
    assert meter.estimated


def rapl_file(path: Path, name: str, microjoules: int, wrap: int) -> Any:
    path.write_text(f"{microjoules}\n")
    return SimpleNamespace(name=name, energy_uj_path=str(path), max_energy_range_uj=float(wrap))


def test_processor_files_are_read_with_their_wraps_and_without_the_platform(
    install: Install, tmp_path: Path
) -> None:
    package, dram = tmp_path / "package", tmp_path / "dram"
    cpu = SimpleNamespace(
        rapl_file=rapl_file(package, "package-0", 9_000_000, 9_999_999),
        dram=rapl_file(dram, "dram", 0, 9_999_999),
    )
    platform = SimpleNamespace(rapl_file=rapl_file(tmp_path / "psys", "psys", 0, 9_999_999), dram=None)
    install(cpus=[cpu, platform])
    meter = opened()
    package.write_text("1000000\n")
    dram.write_text("500000\n")
    assert joules_of(meter.read()) == {"RAPL package-0": 2, "RAPL dram-0": 0.5}
    assert meter.lag_s == 0.001


def test_the_daemon_is_asked_where_zeus_uses_it(install: Install) -> None:
    told = SimpleNamespace(cpu_mj=1000.0, dram_mj=None)
    cpu = SimpleNamespace(
        get_total_energy_consumption=lambda: told, supports_get_dram_energy_consumption=lambda: False
    )
    install(cpus=[cpu])
    meter = opened()
    told.cpu_mj = 3000.0
    assert joules_of(meter.read()) == {"RAPL package-0": 2}


def test_parts_of_an_apple_chip_are_counted_once(install: Install) -> None:
    told = SimpleNamespace(cpu_total_mj=0, performance_cores_mj=[0], gpu_mj=0, dram_mj=None)
    install(soc=SimpleNamespace(get_total_energy_consumption=lambda: told))
    meter = opened()
    told.cpu_total_mj, told.performance_cores_mj, told.gpu_mj = 1000, [900], 500
    assert list(joules_of(meter.read()).values()) == [1.5]


def test_a_chip_with_a_total_is_counted_by_it(install: Install) -> None:
    told = SimpleNamespace(cpu_energy_mj=0.0, total_energy_mj=0.0)
    install(soc=SimpleNamespace(get_total_energy_consumption=lambda: told, power_measurement={}))
    meter = opened()
    told.total_energy_mj = 2000.0
    assert list(joules_of(meter.read()).values()) == [2] and meter.estimated


def test_nothing_that_reads_is_absent_with_every_reason(install: Install) -> None:
    install([FakeGpu(gone="GPU is lost")])
    found = open_zeus()
    assert found == Absent("Zeus reads no device (RAPL: RAPL unavailable; NVIDIA H100: GPU is lost)")


@pytest.mark.parametrize(
    ("error", "installed"),
    [
        (ModuleNotFoundError("none", name="zeus"), False),
        (ModuleNotFoundError("none", name="httpx"), True),
        (OSError("libamd_smi.so"), True),
    ],
)
def test_a_zeus_that_does_not_load_is_absent(
    error: Exception, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> Any:
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    found = open_zeus()
    assert isinstance(found, Absent)
    assert (found is NOT_INSTALLED) is not installed


def test_the_real_zeus_reads_or_is_absent_and_says_nothing(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    pytest.importorskip("zeus", reason='the extra "energy" is not installed')
    caplog.set_level(logging.DEBUG)
    found = open_zeus()
    assert found.reason if isinstance(found, Absent) else joules_of(found.read())
    assert capfd.readouterr() == ("", "") and not caplog.records and not recwarn.list
