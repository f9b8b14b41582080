"""The probe on made-up machines: processors, disks and what is told when something is not there."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sixgig.hardware import Absent, Disk, load_machine, models_folder, probe, save_machine, this_processor
from sixgig.hardware.disks import disk_under
from sixgig.hardware.processor import cache_bytes

MEMINFO = "MemTotal: 1024 kB\nMemAvailable: 2048 kB\nSwapTotal: 0 kB\n"


def tree(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    return root


@dataclass
class Partition:
    mountpoint: str
    device: str
    fstype: str


@pytest.fixture
def mounts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def set_mounts(*partitions: tuple[str, str, str]) -> None:
        found = [Partition(*partition) for partition in partitions]
        monkeypatch.setattr("psutil.disk_partitions", lambda all: found)

    return set_mounts


def block_device(root: Path, path: Path, folder: str, files: dict[str, object]) -> None:
    """A disk in the fake sysfs, under the number that `path` really lies on."""
    tree(root, {f"{folder}/{name}": content for name, content in files.items()})
    number = os.stat(path).st_dev
    link = root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    link.parent.mkdir(parents=True)
    link.symlink_to(root / folder)


def found(path: Path, root: Path) -> Disk:
    disk = disk_under(path, root)
    assert isinstance(disk, Disk)
    return disk


def test_the_probe_of_this_machine_is_sane_and_can_be_kept(tmp_path: Path) -> None:
    machine = probe(disk_path=tmp_path)
    assert 0 < machine.memory.available_bytes <= machine.memory.ram_bytes
    assert 1 <= machine.cpu.cores <= machine.cpu.logical_cores
    assert isinstance(machine.disk, Disk) and machine.disk.free_bytes > 0
    assert machine.meters and machine.origin == "probed"
    save_machine(machine, tmp_path / "machine.json")
    assert load_machine(tmp_path / "machine.json") == machine


def test_an_empty_root_lacks_things_and_raises_nothing(tmp_path: Path) -> None:
    machine = probe(tmp_path / "nothing", tmp_path / "absent")
    assert isinstance(machine.disk, Absent) and "No such file" in machine.disk.reason
    assert machine.cpu.name and machine.cpu.isa == ()


def test_no_host_name_goes_into_a_machine() -> None:
    assert probe().name == "this machine"


def test_available_memory_never_exceeds_what_is_installed(tmp_path: Path) -> None:
    memory = probe(tree(tmp_path, {"proc/meminfo": MEMINFO}), tmp_path).memory
    assert memory.available_bytes == memory.ram_bytes == 1024 * 1024


def test_instruction_sets_are_those_that_matter_to_kernels(tmp_path: Path) -> None:
    text = "model name : Some CPU\nflags : fpu avx2 avx512f hypervisor\n\nmodel name : second"
    cpu = this_processor(tree(tmp_path, {"proc/cpuinfo": text}))
    assert (cpu.name, cpu.isa) == ("Some CPU", ("avx2", "avx512f"))


def test_a_processor_without_a_name_is_called_after_its_board(tmp_path: Path) -> None:
    files = {
        "proc/cpuinfo": "processor : 0\nFeatures : fp asimd asimddp\n",
        "proc/device-tree/model": "Pi 5\0",
    }
    cpu = this_processor(tree(tmp_path, files))
    assert (cpu.name, cpu.isa) == ("Pi 5", ("asimd", "asimddp"))


def test_a_shared_cache_counts_once(tmp_path: Path) -> None:
    files: dict[str, object] = {}
    for cpu in (0, 1):
        for index, level, shared, size in ((0, 1, str(cpu), "32K"), (3, 3, "0-1", "32768K")):
            base = f"sys/devices/system/cpu/cpu{cpu}/cache/index{index}"
            names = {"level": level, "type": "Data", "shared_cpu_list": shared, "size": size}
            files |= {f"{base}/{name}": value for name, value in names.items()}
    assert cache_bytes(tree(tmp_path, files)) == (2 * 32 + 32768) * 1024
    assert cache_bytes(tmp_path / "none") is None


def test_a_partition_is_known_by_its_whole_disk(tmp_path: Path, mounts: Callable[..., None]) -> None:
    mounts(("/", "/dev/nvme0n1p2", "ext4"))
    disk = "sys/devices/pci0/nvme/nvme0/nvme0n1"
    tree(tmp_path, {f"{disk}/size": 2000, f"{disk}/queue/rotational": 0})
    tree(tmp_path, {f"{disk}/device/model": "Fast  SSD 1TB  "})
    block_device(tmp_path, tmp_path, f"{disk}/nvme0n1p2", {"partition": 2, "size": 7})
    seen = found(tmp_path, tmp_path)
    assert (seen.device, seen.file_system, seen.rotating) == ("Fast SSD 1TB, 1000.00 KiB", "ext4", False)


def test_a_disk_that_rotates_says_so_unless_it_is_virtual(
    tmp_path: Path, mounts: Callable[..., None]
) -> None:
    mounts(("/", "/dev/sda", "ext4"))
    files: dict[str, object] = {
        "size": 8,
        "queue/rotational": 1,
        "device/vendor": "ATA",
        "device/model": "HDD",
    }
    real, virtual = tmp_path / "real", tmp_path / "virtual"
    block_device(real, tmp_path, "sys/devices/pci0/ata1/block/sda", files)
    block_device(
        virtual, tmp_path, "sys/devices/pci0/virtio1/block/vda", {**files, "device/vendor": "0x1af4"}
    )
    assert found(tmp_path, real).rotating and found(tmp_path, real).device == "ATA HDD, 4.00 KiB"
    assert not found(tmp_path, virtual).rotating


def test_encryption_and_volumes_are_looked_through(tmp_path: Path, mounts: Callable[..., None]) -> None:
    mounts(("/", "/dev/mapper/root", "xfs"))
    below = tmp_path / "sys/devices/pci0/block/sda"
    tree(below, {"size": 8, "device/model": "Below", "sda1/partition": 1, "queue/rotational": 0})
    upper = "sys/devices/virtual/block/dm-0"
    block_device(tmp_path, tmp_path, upper, {"size": 4, "queue/rotational": 0})
    (tmp_path / upper / "slaves").mkdir()
    (tmp_path / upper / "slaves/sda1").symlink_to(below / "sda1")
    assert found(tmp_path, tmp_path).device == "Below, 4.00 KiB"


def test_the_longest_mount_point_names_the_file_system(tmp_path: Path, mounts: Callable[..., None]) -> None:
    here = str(tmp_path)
    mounts(
        ("/", "/dev/a", "ext4"), (here, "old", "nfs"), (here, "server:/x", "nfs4"), (f"{here}x", "b", "xfs")
    )
    disk = found(tmp_path, tmp_path / "no-sysfs")
    assert (disk.device, disk.file_system, disk.rotating) == ("server:/x", "nfs4", False)


def test_models_are_expected_in_the_hub_cache_or_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert models_folder() == tmp_path
    (tmp_path / "hub").mkdir()
    assert models_folder() == tmp_path / "hub"
