"""What the doctor says about made-up machines: the level, the words that matter, and the cure."""

from dataclasses import replace

import pytest

from sixgig.hardware import (
    Absent,
    Cpu,
    Disk,
    EngineDevice,
    Gpu,
    Machine,
    Memory,
    Meter,
    ReadRate,
    load_machine,
    merge_engine_devices,
    profiles,
)
from sixgig.jobs.engine_builds import EngineFacts, build_for, driver_fault
from sixgig.jobs.findings import Finding, findings

GIB = 1 << 30
ENGINE = EngineFacts("1.2", "xllamacpp==1.2")
FAST = (ReadRate(1 << 16, 1e9), ReadRate(1 << 20, 3e9))
PLAIN = Machine(
    "m",
    "probed",
    "Linux",
    Cpu("CPU", "x86_64", 4, 8, ("avx2",)),
    Memory(16 * GIB, 12 * GIB, bandwidth_bytes_per_s=3e10),
    Disk("SSD", "ext4", False, 100 * GIB, FAST),
    meters=(Meter("RAPL package-0", "joules"),),
)
PASCAL = Gpu(
    "NVIDIA GeForce GTX 1060 6GB", "nvidia", 6 * GIB, 5 * GIB, compute_capability="6.1", driver="580.95"
)
INDEX = "https://xorbitsai.github.io/xllamacpp/whl"


def about(topic: str, machine: Machine, engine: EngineFacts = ENGINE) -> list[Finding]:
    return [finding for finding in findings(machine, engine) if finding.topic == topic]


def memory(**changes: object) -> Machine:
    return replace(PLAIN, memory=replace(PLAIN.memory, **changes))  # type: ignore[arg-type]


def disk(**changes: object) -> Machine:
    assert isinstance(PLAIN.disk, Disk)
    return replace(PLAIN, disk=replace(PLAIN.disk, **changes))  # type: ignore[arg-type]


def reading(bytes_per_s: float) -> Machine:
    return disk(reads=(ReadRate(1 << 16, bytes_per_s), ReadRate(1 << 20, bytes_per_s)))


def with_gpu(gpu: Gpu, *devices: EngineDevice) -> Machine:
    return replace(PLAIN, gpus=merge_engine_devices((gpu,), devices))


def test_a_machine_without_trouble_has_one_good_finding_a_topic() -> None:
    found = findings(PLAIN, ENGINE)
    assert [finding.topic for finding in found] == ["engine", "processor", "memory", "disk", "GPU", "energy"]
    assert {finding.level for finding in found} == {"ok"}


@pytest.mark.parametrize("name", profiles())
def test_every_profile_gets_findings_that_read(name: str) -> None:
    for finding in findings(load_machine(name), ENGINE):
        assert finding.text and "None" not in finding.text and "Absent" not in finding.text
        assert (
            finding.level == "ok" or finding.cure or finding.topic in ("energy", "machine", "disk", "memory")
        )


def test_a_broken_engine_is_a_problem_with_its_own_cure() -> None:
    broken = EngineFacts("1.2", "xllamacpp==1.2", "the OpenMP runtime is missing", "apt install libgomp1")
    assert about("engine", PLAIN, broken) == [
        Finding("engine", "problem", "the OpenMP runtime is missing", "apt install libgomp1")
    ]


@pytest.mark.parametrize(
    ("architecture", "isa", "level", "words"),
    [
        ("x86_64", ("avx", "sse4_2"), "problem", "no AVX2"),
        ("x86_64", ("avx2", "avx512f"), "note", "18 to 27% faster"),
        ("aarch64", ("asimd", "asimddp"), "note", "dot products"),
        ("aarch64", ("asimd",), "ok", "cores"),
        ("x86_64", (), "ok", "cores"),
    ],
)
def test_instruction_sets_that_the_wheel_needs_or_wastes(
    architecture: str, isa: tuple[str, ...], level: str, words: str
) -> None:
    (finding,) = about("processor", replace(PLAIN, cpu=Cpu("CPU", architecture, 4, 4, isa)))
    assert finding.level == level and words in finding.text
    assert (level == "ok") == (finding.cure == "")


@pytest.mark.parametrize(
    ("machine", "level", "words"),
    [
        (
            memory(cgroup_limit_bytes=4 * GIB, available_bytes=3 * GIB),
            "note",
            "limits this process to 4.00 GiB",
        ),
        (memory(available_bytes=GIB), "problem", "1.00 GiB of 16.00 GiB are available"),
        (memory(swap_bytes=8 * GIB), "note", "8.00 GiB of swap"),
        (memory(bandwidth_bytes_per_s=Absent("too little memory")), "note", "unknown: too little memory"),
    ],
)
def test_memory_that_is_limited_taken_or_swapped(machine: Machine, level: str, words: str) -> None:
    (finding,) = about("memory", machine)
    assert finding.level == level and words in finding.text


@pytest.mark.parametrize("limit", [None, 16 * GIB, 1 << 50])
def test_a_limit_that_does_not_bind_is_not_mentioned(limit: int | None) -> None:
    assert [finding.level for finding in about("memory", memory(cgroup_limit_bytes=limit))] == ["ok"]


def test_a_small_box_that_is_nearly_all_free_is_no_problem() -> None:
    assert [finding.level for finding in about("memory", memory(ram_bytes=2 * GIB, available_bytes=GIB))] == [
        "ok"
    ]


@pytest.mark.parametrize(
    ("machine", "level", "words"),
    [
        (disk(rotating=True), "problem", "rotates"),
        (disk(file_system="nfs4"), "note", "network file system"),
        (disk(file_system="fuse.sshfs"), "note", "network file system"),
        (disk(file_system="tmpfs"), "note", "lies in memory"),
        (reading(0.9e9), "note", "858.31 MiB/s"),
        (reading(0.2e9), "problem", "190.73 MiB/s"),
        (disk(direct=False), "note", "no direct reads"),
        (disk(free_bytes=GIB), "note", "1.00 GiB are free"),
        (disk(reads=Absent("no space to measure")), "note", "no space to measure"),
        (replace(PLAIN, disk=Absent("no such path")), "problem", "no such path"),
    ],
)
def test_disks_that_will_set_the_speed(machine: Machine, level: str, words: str) -> None:
    (finding,) = about("disk", machine)
    assert finding.level == level and words in finding.text and finding.cure


def test_several_troubles_are_all_told() -> None:
    machine = disk(rotating=True, direct=False, free_bytes=GIB)
    assert len(about("disk", machine)) == 3


def test_a_card_in_use_is_fine() -> None:
    device = EngineDevice("CUDA0", PASCAL.name, "gpu", 6 * GIB, 5 * GIB)
    (finding,) = about("GPU", with_gpu(PASCAL, device))
    assert finding.level == "ok" and "CUDA0" in finding.text


def test_a_card_that_the_wheel_ignores_gets_the_command_for_another() -> None:
    (finding,) = about("GPU", with_gpu(PASCAL))
    assert finding.level == "note" and "on the CPU only" in finding.text
    assert finding.cure == f"pip install --force-reinstall xllamacpp==1.2 --index-url {INDEX}/cu128"


@pytest.mark.parametrize(
    ("vendor", "capability", "tag"),
    [
        ("nvidia", "3.5", "vulkan"),
        ("nvidia", None, "vulkan"),
        ("nvidia", "5.2", "cu128"),
        ("nvidia", "6.1", "cu128"),
        ("nvidia", "8.9", "cu128"),
        ("nvidia", "9.0", "cu128"),
        ("nvidia", "12.0", "cu128"),
        ("nvidia", "12.1", "cu132"),
        ("amd", None, "rocm-7.2.4"),
        ("intel", None, "vulkan"),
        ("other", None, "vulkan"),
        ("apple", None, ""),
    ],
)
def test_the_build_follows_the_card(vendor: str, capability: str | None, tag: str) -> None:
    build = build_for(replace(PASCAL, vendor=vendor, compute_capability=capability))  # type: ignore[arg-type]
    assert build.tag == tag
    assert ("--index-url" in build.install("x")) == (tag != "")


@pytest.mark.parametrize(
    ("capability", "driver", "old"),
    [
        ("6.1", "535.183.01", True),  # Pascal's code is compiled by the driver, which must know CUDA 12.8
        ("6.1", "570.26", False),
        ("8.9", "535.183.01", False),  # its machine code is in the wheel: any driver for CUDA 12 does
        ("8.9", "470.1", True),
        ("12.0", "565.1", True),
        ("12.1", "575.1", True),
        ("12.1", "580.1", False),
        ("6.1", None, False),
        ("6.1", "unknown", False),
    ],
)
def test_drivers_too_old_for_the_build(capability: str, driver: str | None, old: bool) -> None:
    gpu = replace(PASCAL, compute_capability=capability, driver=driver)
    assert bool(driver_fault(gpu, build_for(gpu))) == old


def test_an_old_driver_comes_before_the_wheel_and_pascal_is_not_sent_too_far() -> None:
    (finding,) = about("GPU", with_gpu(replace(PASCAL, driver="535.183.01")))
    assert finding.level == "problem" and "535.183.01" in finding.text
    assert finding.cure == "install driver 570 to 580; later ones no longer know this card"


def test_cards_that_do_not_tell_enough_are_told_of() -> None:
    remark = "Intel GPU [46a6] is there, but only an engine build for it can tell its memory"
    found = findings(replace(PLAIN, remarks=(remark,)), ENGINE)
    assert Finding("machine", "note", remark) in found
    assert not any("none: the processor" in finding.text for finding in found)


def test_unreadable_counters_say_what_to_permit_and_what_that_opens() -> None:
    locked = Meter("RAPL package-0", Absent("root only (CVE-2020-8694)"))
    none = Meter("RAPL", Absent("none is passed on to this virtual machine"))
    first, second = about("energy", replace(PLAIN, meters=(locked, none)))
    assert first.level == second.level == "note"
    assert "chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in first.cure and "spy" in first.cure
    assert second.cure == ""
