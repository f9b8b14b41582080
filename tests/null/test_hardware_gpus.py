"""GPUs from a fake NVML and a fake sysfs, and how they meet the engine's own list."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sixgig.hardware import Absent, EngineDevice, Gpu, merge_engine_devices
from sixgig.hardware.gpus import link_bytes_per_s, probe_gpus
from tests.null.fake_nvml import GTX_1060, MIB, FakeNvml

GIB = 1 << 30
CUDA0 = EngineDevice("CUDA0", "NVIDIA GeForce GTX 1060 6GB", "gpu", 6 * GIB, 5 * GIB)
CARD = Gpu("NVIDIA GeForce GTX 1060 6GB", "nvidia", 6 * GIB, 5 * GIB)


def sysfs(root: Path, card: str, **files: object) -> Path:
    folder = root / "sys/class/drm" / card / "device"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")
    return root


@pytest.fixture(autouse=True)
def no_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml([], driver=None).install(monkeypatch)


def test_a_gtx_1060_is_what_its_driver_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml([GTX_1060]).install(monkeypatch)
    (gpu,), remarks = probe_gpus(tmp_path)
    assert (gpu.name, gpu.vendor, gpu.memory_bytes) == ("NVIDIA GeForce GTX 1060 6GB", "nvidia", 6144 * MIB)
    assert (gpu.compute_capability, gpu.driver) == ("6.1", "580.95.05")
    assert gpu.bandwidth_bytes_per_s == pytest.approx(192.2e9, rel=1e-3)
    assert gpu.link_bytes_per_s == pytest.approx(12.6e9, rel=1e-2)
    assert remarks == () and nvml.closed


def test_what_the_driver_refuses_is_absent_and_the_rest_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {
        "nvmlDeviceGetName": b"Bytes of a name",
        "nvmlDeviceGetMemoryInfo": GTX_1060["nvmlDeviceGetMemoryInfo"],
    }
    FakeNvml([kept]).install(monkeypatch)
    (gpu,), _ = probe_gpus(tmp_path)
    assert gpu.name == "Bytes of a name"
    assert (gpu.compute_capability, gpu.pcie_generation, gpu.pcie_lanes) == (None, None, None)
    assert (
        isinstance(gpu.bandwidth_bytes_per_s, Absent) and "Not Supported" in gpu.bandwidth_bytes_per_s.reason
    )
    assert isinstance(gpu.link_bytes_per_s, Absent)


def test_a_card_whose_memory_is_not_told_is_a_remark_never_a_guess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeNvml([{"nvmlDeviceGetName": "NVIDIA GB10"}]).install(monkeypatch)
    gpus, remarks = probe_gpus(sysfs(tmp_path, "card0", vendor="0x10de", device="0x2e12"))
    assert gpus == () and remarks == ("NVIDIA GPU [2e12] is there, but its driver tells no memory size",)


def test_an_nvidia_card_without_its_driver_is_a_remark(tmp_path: Path) -> None:
    gpus, remarks = probe_gpus(sysfs(tmp_path, "card1", vendor="0x10de", device="0x1c03"))
    assert gpus == () and "Shared Library Not Found" in remarks[0]


def test_without_the_package_there_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert probe_gpus(tmp_path) == ((), ())


def test_an_amd_card_is_read_from_sysfs(tmp_path: Path) -> None:
    sysfs(
        tmp_path, "card0", vendor="0x1002", device="0x73bf", mem_info_vram_total=16 * GIB,
        mem_info_vram_used=GIB, max_link_speed="16.0 GT/s PCIe", max_link_width=16,
    )  # fmt: skip
    sysfs(tmp_path, "card0-DP-1", vendor="0x1002", mem_info_vram_total=1)
    (gpu,), remarks = probe_gpus(tmp_path)
    assert (gpu.name, gpu.memory_bytes, gpu.free_bytes) == ("AMD GPU [73bf]", 16 * GIB, 15 * GIB)
    assert gpu.link_bytes_per_s == pytest.approx(0.8 * 16 * 1.969e9)
    assert remarks == ()


def test_an_intel_gpu_is_a_remark_until_the_engine_tells_its_memory(tmp_path: Path) -> None:
    gpus, remarks = probe_gpus(sysfs(tmp_path, "card0", vendor="0x8086", device="0x46a6"))
    assert gpus == () and remarks[0].startswith("Intel GPU [46a6] is there")


@pytest.mark.parametrize(("ram_gib", "share"), [(16, 2 / 3), (32, 2 / 3), (36, 3 / 4), (48, 3 / 4)])
def test_apples_gpu_shares_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ram_gib: int, share: float
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    (gpu,), _ = probe_gpus(tmp_path, ram_gib * GIB, 20 * GIB, "Apple M3 Max")
    assert gpu.shares_ram and gpu.vendor == "apple" and isinstance(gpu.link_bytes_per_s, Absent)
    assert gpu.memory_bytes == pytest.approx(ram_gib * GIB * share, abs=1)
    (known,) = merge_engine_devices((gpu,), [EngineDevice("MTL0", "Apple M3 Max", "gpu", GIB, GIB)])
    assert known.engine_device == "MTL0"


def test_links_are_four_fifths_of_nominal() -> None:
    assert link_bytes_per_s(3, 16) == pytest.approx(12.6e9, rel=1e-2)
    for unknown in ((None, 16), (3, None), (3, 0), (9, 16)):
        assert isinstance(link_bytes_per_s(*unknown), Absent)


def test_a_card_gets_the_name_the_engine_has_for_it() -> None:
    (gpu,) = merge_engine_devices((CARD,), [CUDA0])
    assert gpu == replace(CARD, engine_device="CUDA0")


def test_two_equal_cards_get_one_device_each() -> None:
    merged = merge_engine_devices((CARD, CARD), [CUDA0, replace(CUDA0, name="CUDA1")])
    assert [gpu.engine_device for gpu in merged] == ["CUDA0", "CUDA1"]


def test_a_card_is_not_taken_for_its_larger_sister() -> None:
    sister = replace(CUDA0, description="NVIDIA GeForce GTX 1060 6GB Ti")
    first, second = merge_engine_devices((CARD,), [sister])
    assert isinstance(first.engine_device, Absent) and "does not see it" in first.engine_device.reason
    assert (second.name, second.engine_device) == (sister.description, "CUDA0")


def test_an_engine_for_the_cpu_says_why_no_card_is_used() -> None:
    (gpu,) = merge_engine_devices((CARD,), ())
    assert isinstance(gpu.engine_device, Absent) and "on the CPU only" in gpu.engine_device.reason


def test_a_card_known_by_number_takes_the_engines_name_for_it() -> None:
    card = Gpu("AMD GPU [73bf]", "amd", 16 * GIB, 15 * GIB)
    device = EngineDevice("Vulkan0", "AMD Radeon RX 6800 (RADV NAVI21)", "gpu", 16 * GIB - MIB, 15 * GIB)
    (gpu,) = merge_engine_devices((card,), [device])
    assert (gpu.name, gpu.engine_device) == (device.description, "Vulkan0")
    assert gpu.memory_bytes == 16 * GIB
    small = replace(card, memory_bytes=8 * GIB)
    assert len(merge_engine_devices((small,), [device])) == 2


def test_a_processors_gpu_is_not_taken_for_the_card_beside_it() -> None:
    card = Gpu("AMD GPU [73bf]", "amd", 16 * GIB, GIB)
    shared = Gpu("AMD GPU [1638]", "amd", GIB // 2, GIB // 4)
    inside = EngineDevice("Vulkan0", "AMD Radeon Graphics", "igpu", 12 * GIB, 10 * GIB)
    beside = EngineDevice("Vulkan1", "AMD Radeon RX 6800", "gpu", 16 * GIB, 15 * GIB)
    first, second = merge_engine_devices((card, shared), [inside, beside])
    assert (first.engine_device, first.shares_ram) == ("Vulkan1", False)
    assert (second.engine_device, second.shares_ram, second.memory_bytes) == ("Vulkan0", True, 12 * GIB)


def test_what_only_the_engine_knows_is_a_gpu_of_its_own() -> None:
    device = EngineDevice("Vulkan0", "Intel(R) Iris(R) Xe Graphics", "igpu", 8 * GIB, 9 * GIB)
    (gpu,) = merge_engine_devices((), [device])
    assert (gpu.vendor, gpu.shares_ram, gpu.engine_device) == ("intel", True, "Vulkan0")
    assert gpu.free_bytes == gpu.memory_bytes == 8 * GIB
    assert isinstance(gpu.link_bytes_per_s, Absent) and "shares" in gpu.link_bytes_per_s.reason


def test_a_device_that_tells_no_memory_is_left_out() -> None:
    assert merge_engine_devices((), [EngineDevice("X0", "Unknown", "gpu", 0, 0)]) == ()
